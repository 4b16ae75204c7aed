"""Opens a page in the user's browser.

Invariants
- A browser for terminals is never started: it would take over the terminal of the process that it shows.
"""

from __future__ import annotations

import os
import sys
import webbrowser

from tokensvc.cli.output import print_progress

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def open_page(url: str) -> None:
    """Open this page, or print what to open if there is no graphical browser."""
    is_graphical = sys.platform == "darwin" or any(os.environ.get(name) for name in _DISPLAYS)
    if not (is_graphical and webbrowser.open(url)):
        print_progress(f"No graphical browser was found; open {url} yourself.")
