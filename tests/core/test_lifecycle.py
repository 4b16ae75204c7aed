"""The table of a key's life, as promises."""

from __future__ import annotations

import itertools

import pytest

from tokensvc.core.lifecycle import MAY_SIGN, MOVES, KeyState

PREPARED, ACTIVE, RETIRING, RETIRED, COMPROMISED = KeyState

ALLOWED = {
    (PREPARED, ACTIVE),
    (PREPARED, RETIRED),
    (ACTIVE, RETIRING),
    (RETIRING, RETIRED),
    (RETIRING, ACTIVE),
    *((state, COMPROMISED) for state in (PREPARED, ACTIVE, RETIRING, RETIRED)),
}
"""Written a second time, so that a move is added only on purpose."""


@pytest.mark.parametrize(("was", "to"), list(itertools.product(KeyState, KeyState)))
def test_only_the_listed_moves_exist(was: KeyState, to: KeyState) -> None:
    assert (to in MOVES[was]) == ((was, to) in ALLOWED)


def test_only_a_prepared_key_becomes_active_and_one_that_a_compromise_calls_back() -> None:
    assert [was for was in KeyState if ACTIVE in MOVES[was]] == [PREPARED, RETIRING]


def test_an_active_key_is_never_deleted() -> None:
    assert RETIRED not in MOVES[ACTIVE]


def test_a_key_that_is_gone_or_compromised_never_returns() -> None:
    assert MOVES[RETIRED] == {COMPROMISED}
    assert MOVES[COMPROMISED] == frozenset()


def test_what_ivs_admits_and_wants_to() -> None:
    assert {PREPARED, ACTIVE, RETIRING} == MAY_SIGN
