"""Which peers are unavailable on this machine, with the reason and the remedy, so that none is skipped silently.

Invariants
- This module only checks: a benchmark never downloads or installs anything.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NODE_FOLDER = Path(__file__).with_name("node")
GO_FOLDER = Path(__file__).with_name("go")
INSTALL = "npm ci --prefix benchmarks/peers/node --ignore-scripts"
_OLDEST_NODE, _NODE_HOME = "20", "https://nodejs.org"


def wrk() -> str | None:
    """Why HTTP servers cannot be measured; None if they can."""
    return None if shutil.which("wrk") else "wrk is not installed; `make system-packages` installs it (Debian)"


def node() -> str | None:
    """Why the Node libraries are unavailable; None if they are available."""
    if shutil.which("node") is None:
        return f"node is not installed; get version {_OLDEST_NODE} or later from {_NODE_HOME}"
    if not (NODE_FOLDER / "node_modules").is_dir():
        return f"its packages are not installed; `make bench-peers` runs `{INSTALL}` if npm is installed"
    return None


def go() -> str | None:
    """Why Go is unavailable; None if it is available."""
    return (
        None if shutil.which("go") else "go is not installed; install Debian's golang-go or get it from https://go.dev"
    )


def moto() -> str | None:
    """Why moto cannot be measured; None if it can."""
    if (reason := wrk()) is not None:
        return reason
    installed = Path(sys.executable).with_name("moto_server").exists()
    return None if installed else "moto is not installed; `make bench-peers` installs it"
