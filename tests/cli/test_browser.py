"""Opening a page in the user's browser."""

from __future__ import annotations

import pytest

from tokensvc.cli.browser import open_page


@pytest.mark.parametrize("terminal", ["xterm", ""])
def test_without_a_display_the_page_is_named_and_no_browser_for_terminals_is_started(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setattr("sys.platform", "linux")
    open_page("http://127.0.0.1:8080")
    printed = capsys.readouterr()
    assert printed.err == "No graphical browser was found; open http://127.0.0.1:8080 yourself.\n"
    assert printed.out == ""
