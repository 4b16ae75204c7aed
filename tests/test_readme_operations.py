"""The README's table of the local IVS names every operation of the model once, as it is."""

from __future__ import annotations

import re
from pathlib import Path

import tokensvc
from tokensvc.local_ivs.api_model import load
from tokensvc.local_ivs.service import HANDLERS

README = (Path(tokensvc.__file__).parent.parent / "README.md").read_text("utf-8")


def rows() -> list[list[str]]:
    """The table's rows, cell by cell."""
    section = README.partition("### Operations\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_operation_is_named_once() -> None:
    named = [name for row in rows() for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(load().operations)


def test_what_is_said_to_be_served_is() -> None:
    served = {name for row in rows() if row[1] == "yes" for name in re.findall(r"`(\w+)`", row[0])}
    assert served == HANDLERS.keys()


def test_every_row_says_what_is_enforced_and_where_that_comes_from() -> None:
    for row in rows():
        assert len(row) == 4
        assert row[2]
        assert row[3].startswith("documented")
