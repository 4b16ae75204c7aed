"""Contract of `Leases`."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tokensvc.storage import schema
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.store import Store


def expire(store: Store) -> None:
    """Make every lease expire now."""
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(schema.leases).values(expires_at=store.versions.read().now))


def test_a_free_lease_is_granted(store: Store) -> None:
    assert store.leases.acquire("rotation", "a", 60)


def test_another_holder_gets_a_lease_after_it_expires(store: Store) -> None:
    store.leases.acquire("rotation", "a", 60)
    assert not store.leases.acquire("rotation", "b", 60)
    expire(store)
    assert store.leases.acquire("rotation", "b", 60)
    assert not store.leases.acquire("rotation", "a", 60)


def test_a_lease_of_zero_seconds_has_expired(store: Store) -> None:
    assert store.leases.acquire("rotation", "a", 0)
    assert store.leases.acquire("rotation", "b", 60)


@pytest.mark.parametrize("seconds", [0.5, 60, 86_400.25])
def test_a_lease_uses_the_clock_of_the_store(store: Store, seconds: float) -> None:
    before = store.versions.read().now
    store.leases.acquire("rotation", "a", seconds)
    after = store.versions.read().now
    with read_transaction(store.engine) as connection:
        expires_at = connection.execute(sa.select(schema.leases.c.expires_at)).scalar_one()
    assert before + seconds - 0.01 <= expires_at <= after + seconds + 0.01


def test_the_holder_extends_its_lease(store: Store) -> None:
    store.leases.acquire("rotation", "a", 0)
    assert store.leases.acquire("rotation", "a", 60)
    assert not store.leases.acquire("rotation", "b", 60)


def test_leases_are_independent(store: Store) -> None:
    store.leases.acquire("rotation", "a", 60)
    assert store.leases.acquire("channels", "b", 60)


def test_the_holder_releases_its_lease(store: Store) -> None:
    store.leases.acquire("rotation", "a", 60)
    store.leases.release("rotation", "a")
    assert store.leases.acquire("rotation", "b", 60)


def test_the_holder_is_reported_until_the_lease_expires(store: Store) -> None:
    assert store.leases.held("rotation") is None
    store.leases.acquire("rotation", "a", 60)
    held = store.leases.held("rotation")
    assert held is not None
    assert held.holder == "a"
    assert 50 < held.seconds_left <= 60.01
    assert store.leases.held("channels") is None
    expire(store)
    assert store.leases.held("rotation") is None


def test_only_the_holder_releases_a_lease(store: Store) -> None:
    store.leases.acquire("rotation", "a", 60)
    store.leases.release("rotation", "b")
    store.leases.release("never was", "b")
    assert not store.leases.acquire("rotation", "b", 60)


def test_held_leases_are_found_by_prefix(store: Store) -> None:
    for name in ("dispatch:1:east", "dispatch:1:west", "rotation", "dispatchX"):
        store.leases.acquire(name, f"holder of {name}", 60)
    store.leases.acquire("dispatch:1:north", "a", 0)
    held = store.leases.all_held("dispatch:")
    assert {name: lease.holder for name, lease in held.items()} == {
        "dispatch:1:east": "holder of dispatch:1:east",
        "dispatch:1:west": "holder of dispatch:1:west",
    }
    assert all(50 < lease.seconds_left <= 60.01 for lease in held.values())
    assert store.leases.all_held("dispatch_") == {}, "a prefix is not a pattern"
