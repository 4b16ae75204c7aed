"""A single use is spent once, stored long enough, and then deleted."""

from __future__ import annotations

from pathlib import Path

from tests.local_ivs.environment import HERE, START, all_stored
from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge.single_use import RETENTION_SECONDS, SingleUses
from tokensvc.local_ivs.storage import SqliteResourceStore

CHANNEL = Arn(HERE, "channel", "abc")


def test_a_use_belongs_to_its_channel() -> None:
    resources = SqliteResourceStore(":memory:")
    uses = SingleUses(resources)
    assert not uses.is_spent(CHANNEL, "u")
    assert uses.spend(CHANNEL, "u", START)
    assert uses.is_spent(CHANNEL, "U")
    assert not uses.spend(CHANNEL, "U", START)
    assert uses.spend(CHANNEL._replace(id="other"), "u", START)
    resources.close()


def test_uses_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "ivs.db")
    first = SqliteResourceStore(path)
    assert SingleUses(first).spend(CHANNEL, "u", START)
    first.close()
    second = SqliteResourceStore(path)
    assert not SingleUses(second).spend(CHANNEL, "u", START + 1)
    second.close()


def test_expired_uses_are_deleted_when_new_ones_are_spent() -> None:
    resources = SqliteResourceStore(":memory:")
    uses = SingleUses(resources)
    for number in range(25):
        assert uses.spend(CHANNEL, f"u{number}", START)
    assert not uses.spend(CHANNEL, "u0", START + RETENTION_SECONDS)
    for number in range(3):
        assert uses.spend(CHANNEL, f"later{number}", START + RETENTION_SECONDS + 1)
    assert sum(len(page) for page in all_stored(resources)) == 3
    resources.close()
