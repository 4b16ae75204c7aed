"""Who cannot take part here: named with the reason and the remedy, so that no table is silently shorter.

Rules of the file
- Looking is all that is done: nothing is fetched or installed by a benchmark.
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
    """Why nothing can be measured over HTTP; None when it can."""
    return None if shutil.which("wrk") else "wrk is not installed; `make system-packages` installs it (Debian)"


def node() -> str | None:
    """Why no library of Node can take part."""
    if shutil.which("node") is None:
        return f"node is not installed; version {_OLDEST_NODE} or later is at {_NODE_HOME}"
    if not (NODE_FOLDER / "node_modules").is_dir():
        return f"its packages are not installed; `make bench-peers` runs `{INSTALL}` where npm is"
    return None


def go() -> str | None:
    """Why Go cannot take part."""
    return (
        None
        if shutil.which("go")
        else "go is not installed; Debian's package is golang-go, others are at https://go.dev"
    )


def moto() -> str | None:
    """Why the local IVS stands alone."""
    if (reason := wrk()) is not None:
        return reason
    installed = Path(sys.executable).with_name("moto_server").exists()
    return None if installed else "moto is not installed; `make bench-peers` installs it"
