"""Callgrind's dumps are told apart by the marks between them."""

from __future__ import annotations

import pytest

from benchmarks.guard.callgrind_target import PARTS
from benchmarks.guard.instructions import per_token


def dump(instructions: int) -> str:
    return f"version: 1\nevents: Ir\nfn=(1) main\n16 400\nsummary: 400\n\n\ntotals: {instructions}\n"


def dumps() -> dict[int, str]:
    """As of a run in which everything but what is counted cost a billion."""
    each = {2 * number: dump(number * 1000 * tokens) for number, tokens in enumerate(PARTS.values(), start=1)}
    return each | {number - 1: dump(10**9) for number in each}


def test_a_part_is_what_lies_between_its_two_marks_over_its_tokens() -> None:
    assert per_token(dumps()) == {part: 1000 * number for number, part in enumerate(PARTS, start=1)}


def test_a_missing_mark_ends_the_run_instead_of_shifting_the_parts() -> None:
    missing = dumps()
    del missing[3]
    with pytest.raises(SystemExit, match=f"{2 * len(PARTS) - 1} marks, not {2 * len(PARTS)}"):
        per_token(missing)


def test_a_dump_without_a_total_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="something else"):
        per_token(dumps() | {2: "version: 1\n"})
