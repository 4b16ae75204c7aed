"""The table of a key's life, as promises."""

from __future__ import annotations

import itertools

import pytest

from tokensvc.core.lifecycle import HELD_BY_IVS, MOVES, KeyState

PREPARED, ACTIVE, RETIRING, RETIRED = KeyState

ALLOWED = {(PREPARED, ACTIVE), (PREPARED, RETIRED), (ACTIVE, RETIRING), (RETIRING, RETIRED)}
"""Written a second time, so that a move is added only on purpose."""


@pytest.mark.parametrize(("was", "to"), list(itertools.product(KeyState, KeyState)))
def test_only_the_listed_moves_exist(was: KeyState, to: KeyState) -> None:
    assert (to in MOVES[was]) == ((was, to) in ALLOWED)


def test_only_a_prepared_key_becomes_active() -> None:
    assert [was for was in KeyState if ACTIVE in MOVES[was]] == [PREPARED]


def test_an_active_key_is_never_deleted() -> None:
    assert RETIRED not in MOVES[ACTIVE]


def test_a_retired_key_never_returns() -> None:
    assert MOVES[RETIRED] == frozenset()


def test_no_history_goes_round() -> None:
    """A state that was left is never reached again."""
    reached: dict[KeyState, set[KeyState]] = {}
    for state in KeyState:
        new, seen = set(MOVES[state]), set()
        while new:
            seen |= new
            new = {further for was in new for further in MOVES[was]} - seen
        reached[state] = seen
    assert all(state not in after for state, after in reached.items())


def test_a_key_fills_a_slot_until_it_is_retired() -> None:
    assert {PREPARED, ACTIVE, RETIRING} == HELD_BY_IVS
