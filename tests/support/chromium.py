"""Debian's Chromium without a window: the document of a page once its scripts have run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium")
UNAVAILABLE = "chromium is not installed: make system-packages"
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--virtual-time-budget=20000",
    "--dump-dom",
)


def document_of(url: str, folder: Path) -> str:
    """The document as HTML. The browser reaches only 127.0.0.1; its profile is in the folder."""
    assert CHROMIUM is not None, UNAVAILABLE
    command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={folder / 'chromium'}", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
