"""The states and transitions of a key. Which step is due is tested in `test_lifecycle_steps.py`."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from tests.support.placements import (
    NOW,
    POLICY,
    PROPAGATION_SECONDS,
    active,
    ago,
    compromised,
    prepared,
    retired,
    retiring,
)
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
"""Written out a second time, so that a transition is added only on purpose."""


@pytest.mark.parametrize(("was", "to"), list(itertools.product(KeyState, KeyState)))
def test_only_the_listed_transitions_exist(was: KeyState, to: KeyState) -> None:
    assert (to in TRANSITIONS[was]) == ((was, to) in ALLOWED)


def test_only_a_prepared_or_retiring_key_becomes_active() -> None:
    assert [was for was in KeyState if ACTIVE in TRANSITIONS[was]] == [PREPARED, RETIRING]


def test_a_retired_or_compromised_key_never_returns() -> None:
    assert TRANSITIONS[RETIRED] == {COMPROMISED}
    assert TRANSITIONS[COMPROMISED] == frozenset()


def test_the_states_in_which_ivs_accepts_tokens() -> None:
    assert {PREPARED, ACTIVE, RETIRING} == ACCEPTED_STATES


def test_the_diagram_shows_exactly_the_transitions() -> None:
    head, start, *moves = diagram().splitlines()
    assert (head, start.split()) == ("stateDiagram-v2", ["[*]", "-->", "prepared"])
    assert {tuple(move.split(" --> ")) for move in map(str.strip, moves)} == {(str(a), str(b)) for a, b in ALLOWED}
    assert len(moves) == len(ALLOWED)


def successor(*pairs: KeyPlacement) -> str | None:
    """The one of these that would take over immediately."""
    found = best(pairs, NOW, PROPAGATION_SECONDS)
    return found and found.key_id


def test_a_ready_standby_takes_over_before_a_retiring_key() -> None:
    assert successor(retiring("k1", since=1), prepared("k2", since=PROPAGATION_SECONDS)) == "k2"


def test_of_two_standbys_the_older_one_takes_over() -> None:
    assert successor(prepared("k3", since=PROPAGATION_SECONDS), prepared("k2", since=PROPAGATION_SECONDS + 1)) == "k2"


def test_a_standby_within_its_propagation_delay_does_not_take_over() -> None:
    assert successor(prepared("k2", since=PROPAGATION_SECONDS - 1)) is None
    assert successor(prepared("k2", since=PROPAGATION_SECONDS - 1), retiring("k1", since=1)) == "k1"


def test_of_two_retiring_keys_the_one_that_signed_last_takes_over() -> None:
    assert successor(retiring("k1", since=90), retiring("k2", since=10)) == "k2"


@pytest.mark.parametrize(
    "unfit",
    [
        prepared("k1", since=PROPAGATION_SECONDS, deleting_at=NOW),
        prepared("k1", since=PROPAGATION_SECONDS, fingerprint_differs=True),
        prepared("k1", since=PROPAGATION_SECONDS, retired_at=NOW),
        retiring("k1", since=1, deleting_at=NOW),
        retiring("k1", since=1, fingerprint_differs=True),
        retired("k1"),
        compromised("k1"),
        active("k1", since=1),
    ],
    ids=str,
)
def test_an_unfit_key_never_takes_over(unfit: KeyPlacement) -> None:
    assert successor(unfit) is None
    assert successor(unfit, retiring("k2", since=100)) == "k2"


def test_a_key_has_drained_when_the_last_token_of_the_last_stale_worker_has_expired() -> None:
    placement = retiring("k1", since=0, longest_ttl_seconds=3600)
    assert drains_at(placement, POLICY) == NOW + timedelta(seconds=POLICY.drain_seconds(3600))


def test_a_key_is_usable_after_the_propagation_delay() -> None:
    assert usable_from(prepared("k1", since=0), PROPAGATION_SECONDS) == NOW + timedelta(seconds=PROPAGATION_SECONDS)


def test_a_key_uses_a_slot_while_ivs_holds_it_in_any_state() -> None:
    assert compromised("k1").is_imported
    assert not compromised("k1", retired_at=NOW).is_imported
    assert not retired("k1").is_imported


def test_an_unknown_key_is_rejected_by_name() -> None:
    records = [KeyRecord(key_id, "", b"", ago(0), ()) for key_id in ("k1", "k2")]
    assert require_key(records, "k2") is records[1]
    with pytest.raises(KeyNotFound, match="k3"):
        require_key(records, "k3")
