"""In any order of operations, keys make only the transitions of the table."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage import samples
from tests.storage.samples import AT, HERE, THERE, key_arn
from tests.support.audit import EVENT
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import ConcurrentModification
from tokensvc.keys.lifecycle import TRANSITIONS, KeyState
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

KEYS = ("k1", "k2", "k3")
States = dict[tuple[str, AccountRegion], KeyState]
steps = st.tuples(
    st.sampled_from(["import", "activate", "retire", "discard"]), st.sampled_from(KEYS), st.sampled_from([HERE, THERE])
)


def empty(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.key_placements))
        connection.execute(sa.delete(schema.key_pairs))


def states(store: Store) -> States:
    return {
        (key.id, placement.account_region): placement.state for key in store.keys.list() for placement in key.placements
    }


def run_step(store: Store, step: str, key_id: str, account_region: AccountRegion) -> None:
    match step:
        case "import":
            store.keys.record_import(key_id, account_region, key_arn(key_id, account_region), AT)
        case "activate":
            store.keys.activate(key_id, account_region, AT, 3600)
        case "retire":
            store.keys.record_deletion(key_id, account_region, AT)
        case "discard":
            store.keys.discard(key_id, event=EVENT)
            samples.add_key(store, key_id)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, min_size=8, max_size=20))
def test_any_history_makes_only_valid_transitions(store: Store, history: list[tuple[str, str, AccountRegion]]) -> None:
    """At most one key is active per account and region, a refused step changes nothing, and each change raises the
    version by one."""
    empty(store)
    for key_id in KEYS:
        samples.add_key(store, key_id)
    before, number = states(store), store.versions.read().keys.number
    for step in history:
        is_refused = False
        try:
            run_step(store, *step)
        except ConcurrentModification:
            is_refused = True
        after, now = states(store), store.versions.read().keys.number
        for where, state in after.items():
            assert before.get(where, state) == state or state in TRANSITIONS[before[where]]
            assert where in before or state is KeyState.PREPARED
        active = [account_region for (_, account_region), state in after.items() if state is KeyState.ACTIVE]
        assert len(active) == len(set(active))
        assert not is_refused or after == before
        if step[0] != "discard":
            assert (now - number) == (after != before)
        before, number = after, now


def test_an_active_key_stays_active_until_another_replaces_it(store: Store) -> None:
    """No order of operations leaves an account and region without an active key once it has one."""
    for key_id in KEYS:
        samples.add_key(store, key_id, HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    for step in ("retire", "activate", "import", "discard"):
        for key_id in KEYS:
            with contextlib.suppress(ConcurrentModification):
                run_step(store, step, key_id, HERE)
            assert KeyState.ACTIVE in states(store).values()
