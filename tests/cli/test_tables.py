"""Tables fit the terminal, and nothing of them is lost."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.processes import TOKENSVC, environment
from tokensvc.cli.tables import display_width, lay_out
from tokensvc.printable import printable

HEADERS = ("NAME", "SCOPES", "CHANNELS")
ROWS = [
    ("web-backend", "tokens:issue,revocations:write", "arn:aws:ivs:us-east-1:123456789012:channel/*"),
    ("視聴者", "tokens:issue", "*"),
]


def test_a_table_that_is_not_for_a_terminal_has_a_line_for_each_row() -> None:
    assert lay_out(HEADERS, ROWS, None) == [
        "NAME         SCOPES                          CHANNELS",
        "web-backend  tokens:issue,revocations:write  arn:aws:ivs:us-east-1:123456789012:channel/*",
        "視聴者       tokens:issue                    *",
    ]
    assert lay_out(HEADERS, ROWS, 200) == lay_out(HEADERS, ROWS, None)


def test_a_wide_table_wraps_cells_between_words() -> None:
    assert lay_out(HEADERS, ROWS, 80) == [
        "NAME         SCOPES             CHANNELS",
        "web-backend  tokens:issue,      arn:aws:ivs:us-east-1:123456789012:channel/*",
        "             revocations:write",
        "視聴者       tokens:issue       *",
    ]


def test_a_table_that_cannot_be_wrapped_lists_the_cells_of_each_row() -> None:
    for width in (60, 20, 1):
        assert lay_out(HEADERS, ROWS, width) == [
            "NAME      web-backend",
            "SCOPES    tokens:issue,revocations:write",
            "CHANNELS  arn:aws:ivs:us-east-1:123456789012:channel/*",
            "",
            "NAME      視聴者",
            "SCOPES    tokens:issue",
            "CHANNELS  *",
        ]


def test_a_table_without_rows_is_its_header() -> None:
    assert lay_out(HEADERS, [], 5) == ["NAME  SCOPES  CHANNELS"]


@pytest.mark.parametrize(("text", "width"), [("ab", 2), ("視聴", 4), ("e\u0301", 1), ("", 0), ("\uff71", 1)])
def test_characters_take_the_cells_that_a_terminal_gives_them(text: str, width: int) -> None:
    assert display_width(text) == width


_CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(printable)


@pytest.mark.slow
@given(st.lists(st.tuples(_CELLS, _CELLS, _CELLS), max_size=4), st.integers(1, 120))
def test_every_word_is_shown_at_every_width_and_a_wrapped_line_fits(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    lines = lay_out(HEADERS, rows, width)
    shown = "".join(lines).replace(" ", "")
    for cell in (cell for row in rows for cell in row):
        assert set(cell.replace(" ", "")) <= set(shown)
    characters = sorted("".join("".join(row) for row in rows).replace(" ", ""))
    is_list = "SCOPES" not in lines[0]
    if not is_list:
        assert sorted(shown) == sorted([*characters, *"".join(HEADERS)])
        assert not rows or all(display_width(line) <= width for line in lines)


def on_terminal(columns: int, *arguments: str, home: Path) -> str:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {name: value for name, value in environment(home).items() if name != "COLUMNS"} | {
        "TERM": "xterm-256color"
    }
    with subprocess.Popen([TOKENSVC, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux reports the end of a terminal so
                break
            if not part:
                break
            printed += part
    os.close(ours)
    assert process.returncode == 0, printed
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="a terminal's end is reported in another way")
def test_commands_fit_their_output_to_the_terminal(tmp_path: Path) -> None:
    table = on_terminal(80, "settings", home=tmp_path).split("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["SETTING", "VALUE", "SOURCE"]
    narrow = on_terminal(20, "settings", home=tmp_path).splitlines()
    assert narrow[:4] == ["SETTING  TOKENSVC_CONTROL_PLANE", "VALUE    -", "SOURCE   default", ""]
    assert "\x1b" not in "".join(narrow), "no colours, whatever the terminal can do"
