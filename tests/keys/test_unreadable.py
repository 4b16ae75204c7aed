"""A key whose row cannot be read: it does not sign, its pair is neither deleted nor forgotten, the others go on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.refresh_worker import CountingWorker
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import Conflict, RowUnreadable
from tokensvc.keys import commands
from tokensvc.keys.inventory import GRACE_SECONDS, sync_inventory
from tokensvc.keys.lifecycle import KeyRecord, KeyState, require_key
from tokensvc.keys.retirement import delete_pair, retire
from tokensvc.keys.rotation_policy import MAX_KEY_PAIRS
from tokensvc.storage.engine import write_transaction
from tokensvc.tokens.keyring import RegionKeys

pytestmark = pytest.mark.slow

PLACES = {
    "state": "reticent",
    "imported_at": "junk",
    "activated_at": "junk",
    "longest_ttl_seconds": "junk",
    "deleting_at": "junk",
    "fingerprint_differs": 7,
}
PAIRS = {"created_at": "junk", "compromised_at": "junk", "fingerprint": b"\x00", "public_der": "junk"}


@pytest.fixture
def stage(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None)


def damage(stage: InMemoryDeployment, key_id: str, column: str, value: Any, region: str | None = None) -> None:
    """In the key's row of that region, or of the key itself. No version rises, as when a disk fails."""
    table, which = (
        ("key_pairs", "id = :id") if region is None else ("key_placements", "key_id = :id AND region = :region")
    )
    with write_transaction(stage.store.engine) as connection:
        statement = sa.text(f"UPDATE {table} SET {column} = :value WHERE {which}")
        parameters = {"value": value, "id": key_id, "region": region}
        assert connection.execute(statement, {n: v for n, v in parameters.items() if v is not None}).rowcount == 1


def pairs(stage: InMemoryDeployment) -> set[str]:
    return set(stage.ivs.pairs)


def record_of(stage: InMemoryDeployment, key_id: str) -> KeyRecord:
    return require_key(stage.store.keys.list(), key_id)


def damages() -> list[Any]:
    in_place = [(f"place {column}", column, value, EAST) for column, value in PLACES.items()]
    itself = [(f"key {column}", column, value, None) for column, value in PAIRS.items()]
    return [
        pytest.param(partial(_spoil, column, value, region), id=name)
        for name, column, value, region in [*in_place, *itself]
    ]


def _spoil(column: str, value: Any, region: str | None, stage: InMemoryDeployment, key_id: str) -> None:
    damage(stage, key_id, column, value, region)


Damage = Callable[[InMemoryDeployment, str], None]


@pytest.mark.parametrize("spoil", damages())
@pytest.mark.parametrize("of", [KeyState.ACTIVE, KeyState.RETIRING, KeyState.PREPARED])
def test_its_pair_and_its_private_half_outlast_everything_that_goes_by_itself(
    migrated: Path, spoil: Damage, of: KeyState
) -> None:
    stage = InMemoryDeployment(migrated, None, POLICY._replace(standby=True))
    stage.generate()
    stage.reconcile()
    stage.rotate()
    [(record, there)] = stage.placements(EAST, of)
    spoil(stage, record.id)
    for _ in range(4):
        stage.drain()
        stage.reconcile()
    assert there.arn in pairs(stage)
    assert record.id in stage.vault.key_ids()
    assert record_of(stage, record.id).damage
    assert len(pairs(stage)) <= MAX_KEY_PAIRS
    assert stage.active() != record.id, "another key signs"
    assert not stage.store.journal.open_entries() or of is not KeyState.ACTIVE


def test_it_fills_its_slot(stage: InMemoryDeployment) -> None:
    key = stage.generate()
    before = sync_inventory(stage.context(), EAST).region_state
    damage(stage, key.id, "state", "reticent", EAST)
    after = sync_inventory(stage.context(), EAST).region_state
    assert (before.foreign, after.foreign) == (0, 0), "it is no pair of others"
    assert after.unreadable == {key.placements[0].arn}
    stage.ivs.pairs.clear()
    stage.clock.advance(GRACE_SECONDS + 1)
    assert sync_inventory(stage.context(), EAST).region_state.unreadable == {key.placements[0].arn}, "lists may lag"


def test_a_region_that_is_full_of_such_keys_gets_no_other(stage: InMemoryDeployment) -> None:
    for _ in range(MAX_KEY_PAIRS):
        commands.generate(stage.context(), [EAST])
        stage.reconcile()
    for record in stage.store.keys.list():
        damage(stage, record.id, "state", "reticent", EAST)
    [outlook] = stage.reconcile()
    assert "somebody must make room" in (outlook.wait.reason if outlook.wait else "")
    assert len(pairs(stage)) == MAX_KEY_PAIRS


def test_what_is_wrong_is_told(stage: InMemoryDeployment) -> None:
    key = stage.generate()
    damage(stage, key.id, "state", "reticent", EAST)
    [outlook] = stage.reconcile()
    assert any(f"key {key.id} cannot be read" in words for words in texts(outlook.problems))


def test_a_key_that_was_only_made_is_neither_imported_nor_forgotten(stage: InMemoryDeployment) -> None:
    stage.generate()
    stage.context().keys.add("k99", "fingerprint", b"der", stage.clock.at())
    stage.vault.put("k99", stage.new_key())
    damage(stage, "k99", "created_at", "junk")
    stage.drain()
    commands.generate(stage.context(), [EAST])
    stage.reconcile()
    assert "k99" in stage.vault.key_ids()
    assert record_of(stage, "k99").placements == ()


def test_nobody_deletes_it_by_mistake(stage: InMemoryDeployment) -> None:
    key = stage.generate()
    arn = key.placements[0].arn
    damage(stage, key.id, "state", "reticent", EAST)
    for delete in (
        lambda: delete_pair(stage.context(), arn),
        lambda: commands.delete(stage.context(), key.id, [EAST]),
        lambda: retire(stage.context(), key.id, [EAST], "a test"),
    ):
        with pytest.raises(Conflict, match="cannot be read"):
            delete()
    assert arn in pairs(stage)
    with pytest.raises(RowUnreadable):
        stage.store.keys.record_deletion(key.id, key.placements[0].account_region, stage.clock.at())


def test_a_compromise_gives_it_up(stage: InMemoryDeployment) -> None:
    key = stage.generate()
    damage(stage, key.id, "state", "reticent", EAST)
    commands.compromise(stage.context(), key.id, [EAST], include_standby=False)
    assert key.placements[0].arn not in pairs(stage)
    assert record_of(stage, key.id).placements[0].state is KeyState.COMPROMISED
    stage.clock.advance(POLICY.propagation_seconds)
    stage.reconcile()
    assert stage.active() != key.id


def test_a_key_that_is_mended_goes_on_as_if_nothing_had_been(stage: InMemoryDeployment) -> None:
    key = stage.generate()
    damage(stage, key.id, "state", "reticent", EAST)
    damage(stage, key.id, "state", "active", EAST)
    assert stage.active() == key.id
    stage.reconcile()
    stage.check_settled(EAST)


# --- workers


def slot(stage: InMemoryDeployment, worker: CountingWorker, region: str = EAST) -> RegionKeys:
    worker.refresh.run_once()
    return worker.refresh.current.keyring.region_keys[AccountRegion(stage.ivs.account, region)]


@pytest.fixture
def worker(stage: InMemoryDeployment, clock: ManualClock) -> CountingWorker:
    stage.clock = clock
    return CountingWorker(stage, clock)


def test_the_key_does_not_sign_there_and_every_other_one_goes_on(
    stage: InMemoryDeployment, worker: CountingWorker
) -> None:
    key = stage.generate(EAST, WEST)
    damage(stage, key.id, "state", "reticent", EAST)
    east, west = slot(stage, worker), slot(stage, worker, WEST)
    assert east.active is None
    assert key.id not in east.verification_keys
    assert key.id in east.problems
    assert west.active is not None
    [warning] = worker.refresh.current.damage
    assert warning == f"key {key.id} cannot be read: in {EAST} state is none that a key can be in"
    damage(stage, key.id, "state", "active", EAST)
    assert slot(stage, worker).active is not None, "it is read again although no version rose"
    assert worker.refresh.current.damage == ()


def test_the_retiring_key_signs_in_its_stead_while_it_safely_may(
    stage: InMemoryDeployment, worker: CountingWorker
) -> None:
    former = stage.generate()
    latter = stage.rotate()
    damage(stage, latter, "state", "reticent", EAST)
    found = slot(stage, worker)
    assert found.active is not None
    assert found.active.key_id == former.id
    assert latter in found.problems


def test_a_standby_whose_row_is_damaged_is_a_warning_and_no_trouble_of_the_slot(
    migrated: Path, clock: ManualClock
) -> None:
    stage = InMemoryDeployment(migrated, None, POLICY._replace(standby=True), clock=clock)
    stage.generate()
    stage.reconcile()
    [(standby, _)] = stage.placements(EAST, KeyState.PREPARED)
    damage(stage, standby.id, "imported_at", "junk", EAST)
    worker = CountingWorker(stage, clock)
    found = slot(stage, worker)
    assert found.active is not None
    assert found.problems == ""
    assert len(worker.refresh.current.damage) == 1
