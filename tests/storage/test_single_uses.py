"""Contract of `SingleUseStore`. Two that race are in `test_races.py`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.support.tokens import CHANNEL, OTHER_CHANNEL
from tokensvc.storage.store import Store
from tokensvc.tokens.single_uses import single_use_digest

UUID = "123e4567-e89b-12d3-a456-426614174000"


def test_a_single_use_is_spent_once(store: Store) -> None:
    digest = single_use_digest(str(CHANNEL), UUID)
    assert not store.single_uses.is_spent(digest)
    assert [store.single_uses.spend(digest) for _ in range(3)] == [True, False, False]
    assert store.single_uses.is_spent(digest)


def test_a_single_use_is_that_of_its_channel_and_uuid(store: Store) -> None:
    assert store.single_uses.spend(single_use_digest(str(CHANNEL), UUID))
    assert not store.single_uses.spend(single_use_digest(str(CHANNEL), UUID.upper()))
    assert store.single_uses.spend(single_use_digest(str(OTHER_CHANNEL), UUID))
    assert store.single_uses.spend(single_use_digest(str(CHANNEL), UUID.replace("1", "2")))


def test_old_ones_are_deleted_at_most_so_many_at_once(store: Store) -> None:
    for number in range(5):
        store.single_uses.spend(b"%d" % number)
    now = datetime.fromtimestamp(store.versions.read().now, UTC)
    assert store.single_uses.prune(now - timedelta(seconds=60), 10) == 0
    later = now + timedelta(seconds=1)
    assert [store.single_uses.prune(later, 3) for _ in range(3)] == [3, 2, 0]
    assert store.single_uses.spend(b"0")
