"""The architecture decision records are numbered, complete and listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tokensvc

FOLDER = Path(tokensvc.__file__).parent.parent / "docs/adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "What would change it"]
_STATE = re.compile(r"\d{4}-\d\d-\d\d, (accepted|superseded by \[ADR \d+\]\(\d{4}-[\w-]+\.md\))")


def _title(record: Path) -> str:
    number, title = record.read_text("utf-8").partition("\n")[0].removeprefix("# ").split(". ", 1)
    assert int(number) == int(record.name[:4])
    return title


def test_the_numbers_have_no_gap() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_the_index_lists_each_record_with_its_title() -> None:
    rows = re.findall(
        r"^\| \[(\d+)\]\(([\w.-]+)\) \| (.+) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert rows == [(str(int(record.name[:4])), record.name, _title(record)) for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_its_date_its_state_and_every_section(record: Path) -> None:
    text = record.read_text("utf-8")
    assert _STATE.fullmatch(text.splitlines()[2])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
