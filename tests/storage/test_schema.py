"""The constraints of the schema."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage import samples
from tests.storage.samples import AT, HERE, THERE
from tests.support.audit import EVENT
from tokensvc.errors import Conflict, StoreError
from tokensvc.revocations.model import Priority
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.storage.schema import callers, key_pairs, key_placements
from tokensvc.storage.store import Store

zones = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-1439, 1439))
instants = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1), timezones=zones)  # noqa: DTZ001 - bounds of a strategy


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(instants, min_size=1, max_size=8), pivot=instants)
def test_instants_are_stored_and_ordered_exactly(store: Store, some: list[datetime], pivot: datetime) -> None:
    """To the microsecond, in UTC, whatever their offset was."""
    rows = [{"name": f"c{number}", "policy": {}, "created_at": at} for number, at in enumerate(some)]
    created_at = callers.c.created_at
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(callers))
        connection.execute(sa.insert(callers), rows)
        ordered = list(connection.execute(sa.select(created_at).order_by(created_at)).scalars())
        before = list(connection.execute(sa.select(created_at).where(created_at < pivot)).scalars())
    assert ordered == sorted(some)
    assert {at.tzinfo for at in ordered} == {UTC}
    assert sorted(before) == sorted(at for at in some if at < pivot)


def test_a_naive_instant_is_refused(store: Store) -> None:
    naive = AT.replace(tzinfo=None)
    with pytest.raises(StoreError):
        store.keys.add("k1", "", b"public", naive)
    assert store.keys.list() == []


def placement_row(key_id: str, **values: Any) -> dict[str, Any]:
    row = {"key_id": key_id, "account": HERE.account, "region": HERE.region, "arn": key_id, "state": "active"}
    return {**row, "imported_at": AT, "longest_ttl_seconds": 0, "fingerprint_differs": False, **values}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(placement_row("k2"), id="a second active key in a region"),
        pytest.param(placement_row("k1", state="retired"), id="a key twice in a region"),
        pytest.param(placement_row("k2", state="prepared", arn="k1"), id="an ARN twice"),
        pytest.param(placement_row("k9", state="prepared"), id="an unknown key"),
    ],
)
def test_the_schema_refuses(store: Store, row: dict[str, Any]) -> None:
    samples.add_key(store, "k1")
    samples.add_key(store, "k2")
    with write_transaction(store.engine) as connection:
        connection.execute(sa.insert(key_placements).values(**placement_row("k1")))
    with pytest.raises(Conflict), write_transaction(store.engine) as connection:
        connection.execute(sa.insert(key_placements).values(**row))


def test_each_region_has_one_active_key_and_any_number_of_others(store: Store) -> None:
    for key_id in ("k1", "k2", "k3"):
        samples.add_key(store, key_id)
    with write_transaction(store.engine) as connection:
        for row in (
            placement_row("k1"),
            placement_row("k1", region=THERE.region, arn="k1 there"),
            placement_row("k2", state="retiring"),
            placement_row("k3", state="retiring"),
        ):
            connection.execute(sa.insert(key_placements).values(**row))


def test_there_is_only_one_deployment_row(store: Store) -> None:
    with pytest.raises(Conflict), write_transaction(store.engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO deployment (singleton, id, max_ttl_seconds, passphrase_salt, key_propagation_seconds,"
                " key_standby, subject_keys_created) SELECT 2, id, max_ttl_seconds, passphrase_salt,"
                " key_propagation_seconds, key_standby, subject_keys_created FROM deployment"
            )
        )


def test_a_public_key_is_unique(store: Store) -> None:
    samples.add_key(store, "k1")
    with read_transaction(store.engine) as connection:
        public = connection.execute(sa.select(key_pairs.c.public_der)).scalar_one()
    row = {"id": "k2", "fingerprint": "", "public_der": public, "created_at": AT, "longest_ttl_seconds": 0}
    with pytest.raises(Conflict), write_transaction(store.engine) as connection:
        connection.execute(sa.insert(key_pairs).values(row))


def test_a_queued_entry_is_unfinished_and_unique_per_viewer(store: Store) -> None:
    """The indexes of the queue rely on it."""
    wanted = [samples.revocation("r1", "v")]
    store.revocations.accept("backend", wanted, Priority.INTERACTIVE, samples.MAX_STALENESS_SECONDS, events=[EVENT])
    for values in ({"state": "sent"}, {"finished_at": 1.0}):
        with pytest.raises(Conflict), write_transaction(store.engine) as connection:
            connection.execute(sa.update(revocation_entries).values(values))
    with read_transaction(store.engine) as connection:
        row = connection.execute(sa.select(revocation_entries)).one()._asdict()
    with pytest.raises(Conflict), write_transaction(store.engine) as connection:
        connection.execute(sa.insert(revocation_entries).values(row | {"id": 99}))
    with write_transaction(store.engine) as connection:
        connection.execute(sa.insert(revocation_entries).values(row | {"id": 99, "state": "sent", "finished_at": 1.0}))
