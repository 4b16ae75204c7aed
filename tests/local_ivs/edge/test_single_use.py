"""A single use is spent once, stored long enough, and then deleted."""

from __future__ import annotations

from pathlib import Path

from tests.local_ivs.environment import HERE, START, all_stored
from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge import single_use
from tokensvc.local_ivs.edge.single_use import RETENTION_SECONDS
from tokensvc.local_ivs.storage import SqliteResourceStore

CHANNEL = Arn(HERE, "channel", "abc")


def spend(resources: SqliteResourceStore, uuid: str, at: float = START, channel: Arn = CHANNEL) -> bool:
    """Whether the single use was not spent before."""
    with resources.begin(write=True) as transaction:
        if single_use.is_spent(transaction, channel, uuid):
            return False
        single_use.spend(transaction, channel, uuid, at)
        return True


def test_a_use_belongs_to_its_channel() -> None:
    resources = SqliteResourceStore(":memory:")
    assert spend(resources, "u")
    assert not spend(resources, "U")
    assert spend(resources, "u", channel=CHANNEL._replace(id="other"))
    resources.close()


def test_uses_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "ivs.db")
    first = SqliteResourceStore(path)
    assert spend(first, "u")
    first.close()
    second = SqliteResourceStore(path)
    assert not spend(second, "u", START + 1)
    second.close()


def test_expired_uses_are_deleted_when_new_ones_are_spent() -> None:
    resources = SqliteResourceStore(":memory:")
    for number in range(25):
        assert spend(resources, f"u{number}")
    assert not spend(resources, "u0", START + RETENTION_SECONDS)
    for number in range(3):
        assert spend(resources, f"later{number}", START + RETENTION_SECONDS + 1)
    assert sum(len(page) for page in all_stored(resources)) == 3
    resources.close()
