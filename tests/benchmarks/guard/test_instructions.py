"""Callgrind's dumps are assigned to parts by the marks between them."""

from __future__ import annotations

import pytest

from benchmarks.guard.callgrind_target import PARTS
from benchmarks.guard.instructions import per_token


def dump(instructions: int) -> str:
    return f"version: 1\nevents: Ir\nfn=(1) main\n16 400\nsummary: 400\n\n\ntotals: {instructions}\n"


def dumps() -> dict[int, str]:
    """The dumps of a run in which everything outside the parts cost a billion instructions."""
    each = {2 * number: dump(number * 1000 * tokens) for number, tokens in enumerate(PARTS.values(), start=1)}
    return each | {number - 1: dump(10**9) for number in each}


def test_the_cost_of_a_part_is_the_count_between_its_marks_divided_by_its_tokens() -> None:
    assert per_token(dumps()) == {part: 1000 * number for number, part in enumerate(PARTS, start=1)}


def test_a_missing_mark_ends_the_run() -> None:
    missing = dumps()
    del missing[3]
    with pytest.raises(SystemExit, match=f"{2 * len(PARTS) - 1} marks, not {2 * len(PARTS)}"):
        per_token(missing)


def test_a_dump_without_a_total_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="no total"):
        per_token(dumps() | {2: "version: 1\n"})
