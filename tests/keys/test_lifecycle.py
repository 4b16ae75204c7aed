"""The table of a key's life, as promises. Which step is due is in `test_lifecycle_steps.py`."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from tests.support.placements import LEAD, NOW, POLICY, active, ago, compromised, prepared, retired, retiring
from tokensvc.errors import KeyNotFound
from tokensvc.keys.lifecycle import (
    ACCEPTED_STATES,
    TRANSITIONS,
    KeyPlacement,
    KeyRecord,
    KeyState,
    diagram,
    drains_at,
    require_key,
    usable_from,
)
from tokensvc.keys.lifecycle import successor as best

PREPARED, ACTIVE, RETIRING, RETIRED, COMPROMISED = KeyState

ALLOWED = {
    (PREPARED, ACTIVE),
    (PREPARED, RETIRED),
    (ACTIVE, RETIRING),
    (ACTIVE, RETIRED),
    (RETIRING, RETIRED),
    (RETIRING, ACTIVE),
    *((state, COMPROMISED) for state in (PREPARED, ACTIVE, RETIRING, RETIRED)),
}
"""Written a second time, so that a move is added only on purpose."""


@pytest.mark.parametrize(("was", "to"), list(itertools.product(KeyState, KeyState)))
def test_only_the_listed_moves_exist(was: KeyState, to: KeyState) -> None:
    assert (to in TRANSITIONS[was]) == ((was, to) in ALLOWED)


def test_only_a_prepared_key_becomes_active_and_one_that_is_reactivated() -> None:
    assert [was for was in KeyState if ACTIVE in TRANSITIONS[was]] == [PREPARED, RETIRING]


def test_a_key_that_is_gone_or_compromised_never_returns() -> None:
    assert TRANSITIONS[RETIRED] == {COMPROMISED}
    assert TRANSITIONS[COMPROMISED] == frozenset()


def test_what_ivs_admits_and_wants_to() -> None:
    assert {PREPARED, ACTIVE, RETIRING} == ACCEPTED_STATES


def test_the_diagram_shows_the_table_and_nothing_else() -> None:
    head, start, *moves = diagram().splitlines()
    assert (head, start.split()) == ("stateDiagram-v2", ["[*]", "-->", "prepared"])
    assert {tuple(move.split(" --> ")) for move in map(str.strip, moves)} == {(str(a), str(b)) for a, b in ALLOWED}
    assert len(moves) == len(ALLOWED)


def successor(*pairs: KeyPlacement) -> str | None:
    """Which of these would take over at once."""
    found = best(pairs, NOW, LEAD)
    return found and found.key_id


def test_a_standby_that_has_led_takes_over_before_a_retiring_key() -> None:
    assert successor(retiring("k1", since=1), prepared("k2", since=LEAD)) == "k2"


def test_of_two_that_stand_ready_the_one_that_stands_longer_takes_over() -> None:
    assert successor(prepared("k3", since=LEAD), prepared("k2", since=LEAD + 1)) == "k2"


def test_a_standby_that_has_not_led_does_not_take_over() -> None:
    assert successor(prepared("k2", since=LEAD - 1)) is None
    assert successor(prepared("k2", since=LEAD - 1), retiring("k1", since=1)) == "k1"


def test_of_two_that_retire_the_one_that_signed_last_takes_over() -> None:
    assert successor(retiring("k1", since=90), retiring("k2", since=10)) == "k2"


@pytest.mark.parametrize(
    "unfit",
    [
        prepared("k1", since=LEAD, deleting_at=NOW),
        prepared("k1", since=LEAD, fingerprint_differs=True),
        prepared("k1", since=LEAD, retired_at=NOW),
        retiring("k1", since=1, deleting_at=NOW),
        retiring("k1", since=1, fingerprint_differs=True),
        retired("k1"),
        compromised("k1"),
        active("k1", since=1),
    ],
    ids=str,
)
def test_what_is_on_its_way_out_or_in_doubt_never_takes_over(unfit: KeyPlacement) -> None:
    assert successor(unfit) is None
    assert successor(unfit, retiring("k2", since=100)) == "k2"


def test_a_key_has_drained_when_the_last_token_of_the_last_worker_to_hear_has_ended() -> None:
    placement = retiring("k1", since=0, longest_ttl_seconds=3600)
    assert drains_at(placement, POLICY) == NOW + timedelta(seconds=POLICY.drain_seconds(3600))


def test_a_key_has_led_after_the_lead() -> None:
    assert usable_from(prepared("k1", since=0), LEAD) == NOW + timedelta(seconds=LEAD)


def test_a_key_fills_a_slot_until_ivs_holds_it_no_more_whatever_its_state_is() -> None:
    assert compromised("k1").is_imported
    assert not compromised("k1", retired_at=NOW).is_imported
    assert not retired("k1").is_imported


def test_a_key_is_found_by_its_id_or_refused_by_name() -> None:
    records = [KeyRecord(key_id, "", b"", ago(0), ()) for key_id in ("k1", "k2")]
    assert require_key(records, "k2") is records[1]
    with pytest.raises(KeyNotFound, match="k3"):
        require_key(records, "k3")
