"""The last use of each API key reaches the store off the hot path, to the minute."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from tests.storage.samples import AT, POLICY, secret
from tests.support.audit import EVENT
from tokensvc.background.last_used import BATCH_SIZE, LastUses
from tokensvc.callers.store import LastUse
from tokensvc.errors import StoreUnavailable
from tokensvc.storage.callers import SqlCallerStore
from tokensvc.storage.store import Store

MINUTE = AT.replace(second=0, microsecond=0)


def used(store: Store, name: str = "shop") -> tuple[datetime | None, str | None]:
    """The last use of the caller's newest key."""
    newest = store.callers.get(name).secrets[0]
    return newest.last_used_at, newest.last_used_from


def test_the_last_of_many_uses_is_written_to_the_minute(store: Store) -> None:
    store.callers.add("shop", POLICY, secret("s1"), EVENT)
    uses = LastUses(store.callers)
    for second in range(3):
        uses.record("s1", AT.timestamp() + second, f"192.0.2.{second}")
    assert used(store) == (None, None)
    uses.run_once()
    assert used(store) == (MINUTE, "192.0.2.2")


def test_of_two_workers_the_later_use_is_shown(store: Store) -> None:
    store.callers.add("shop", POLICY, secret("s1"), EVENT)
    one, two = LastUses(store.callers), LastUses(store.callers)
    one.record("s1", AT.timestamp() + 60, "192.0.2.1")
    two.record("s1", AT.timestamp(), "192.0.2.2")
    one.stop()
    two.stop()
    assert used(store) == (MINUTE + timedelta(minutes=1), "192.0.2.1")


class _FailingOnce(SqlCallerStore):
    """A store of callers that fails the first time."""

    has_failed = False

    def record_last_uses(self, uses: Mapping[str, LastUse]) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise StoreUnavailable("the store cannot be reached")
        super().record_last_uses(uses)


def test_a_use_that_could_not_be_written_is_written_later(store: Store) -> None:
    store.callers.add("shop", POLICY, secret("s1"), EVENT)
    store.callers.add("app", POLICY, secret("s2"), EVENT)
    uses = LastUses(_FailingOnce(store.engine))
    uses.record("s1", AT.timestamp(), "192.0.2.1")
    uses.record("s2", AT.timestamp(), "192.0.2.1")
    with pytest.raises(StoreUnavailable):
        uses.run_once()
    uses.record("s2", AT.timestamp() + 60, "192.0.2.2")
    uses.run_once()
    assert used(store) == (MINUTE, "192.0.2.1")
    assert used(store, "app") == (MINUTE + timedelta(minutes=1), "192.0.2.2")


def test_many_keys_are_written_in_several_transactions(store: Store) -> None:
    store.callers.add("shop", POLICY, secret("s1"), EVENT)
    uses = LastUses(store.callers)
    for number in range(BATCH_SIZE + 1):
        uses.record(f"unknown{number}", AT.timestamp(), "192.0.2.1")
    uses.record("s1", AT.timestamp(), "192.0.2.1")
    uses.run_once()
    assert used(store) == (MINUTE, "192.0.2.1")
