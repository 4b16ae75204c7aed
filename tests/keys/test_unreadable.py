"""A key whose row cannot be read does not sign, is neither deleted nor discarded, and does not affect others."""

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

pytestmark = pytest.mark.long

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
def deployment(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None)


def damage(deployment: InMemoryDeployment, key_id: str, column: str, value: Any, region: str | None = None) -> None:
    """Damage the key's row, or its row for that region, without raising a version, as a failing disk would."""
    table, which = (
        ("key_pairs", "id = :id") if region is None else ("key_placements", "key_id = :id AND region = :region")
    )
    with write_transaction(deployment.store.engine) as connection:
        statement = sa.text(f"UPDATE {table} SET {column} = :value WHERE {which}")
        parameters = {"value": value, "id": key_id, "region": region}
        assert connection.execute(statement, {n: v for n, v in parameters.items() if v is not None}).rowcount == 1


def pairs(deployment: InMemoryDeployment) -> set[str]:
    return set(deployment.ivs.pairs)


def record_of(deployment: InMemoryDeployment, key_id: str) -> KeyRecord:
    return require_key(deployment.store.keys.list(), key_id)


def damages() -> list[Any]:
    in_place = [(f"place {column}", column, value, EAST) for column, value in PLACES.items()]
    itself = [(f"key {column}", column, value, None) for column, value in PAIRS.items()]
    return [
        pytest.param(partial(_damage_row, column, value, region), id=name)
        for name, column, value, region in [*in_place, *itself]
    ]


def _damage_row(column: str, value: Any, region: str | None, deployment: InMemoryDeployment, key_id: str) -> None:
    damage(deployment, key_id, column, value, region)


Damage = Callable[[InMemoryDeployment, str], None]


@pytest.mark.parametrize("spoil", damages())
@pytest.mark.parametrize("of", [KeyState.ACTIVE, KeyState.RETIRING, KeyState.PREPARED])
def test_its_pair_and_its_private_key_are_never_deleted_automatically(
    migrated: Path, spoil: Damage, of: KeyState
) -> None:
    deployment = InMemoryDeployment(migrated, None, POLICY._replace(standby=True))
    deployment.generate()
    deployment.reconcile()
    deployment.rotate()
    [(record, placement)] = deployment.placements(EAST, of)
    spoil(deployment, record.id)
    for _ in range(4):
        deployment.drain()
        deployment.reconcile()
    assert placement.arn in pairs(deployment)
    assert record.id in deployment.vault.key_ids()
    assert record_of(deployment, record.id).damage
    assert len(pairs(deployment)) <= MAX_KEY_PAIRS
    assert deployment.active() != record.id, "another key is active"
    assert not deployment.store.journal.open_entries() or of is not KeyState.ACTIVE


def test_it_uses_its_slot(deployment: InMemoryDeployment) -> None:
    key = deployment.generate()
    before = sync_inventory(deployment.context(), EAST).region_state
    damage(deployment, key.id, "state", "reticent", EAST)
    after = sync_inventory(deployment.context(), EAST).region_state
    assert (before.foreign, after.foreign) == (0, 0), "it is not a foreign pair"
    assert after.unreadable == {key.placements[0].arn}
    deployment.ivs.pairs.clear()
    deployment.clock.advance(GRACE_SECONDS + 1)
    assert sync_inventory(deployment.context(), EAST).region_state.unreadable == {key.placements[0].arn}, (
        "lists may lag"
    )


def test_a_region_full_of_such_keys_gets_no_other(deployment: InMemoryDeployment) -> None:
    for _ in range(MAX_KEY_PAIRS):
        commands.generate(deployment.context(), [EAST])
        deployment.reconcile()
    for record in deployment.store.keys.list():
        damage(deployment, record.id, "state", "reticent", EAST)
    [result] = deployment.reconcile()
    assert "free a slot" in (result.wait.reason if result.wait else "")
    assert len(pairs(deployment)) == MAX_KEY_PAIRS


def test_the_damage_is_reported(deployment: InMemoryDeployment) -> None:
    key = deployment.generate()
    damage(deployment, key.id, "state", "reticent", EAST)
    [result] = deployment.reconcile()
    assert any(f"key {key.id} cannot be read" in words for words in texts(result.problems))


def test_a_key_that_was_never_imported_is_neither_imported_nor_discarded(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    deployment.context().keys.add("k99", "fingerprint", b"der", deployment.clock.at())
    deployment.vault.put("k99", deployment.new_key())
    damage(deployment, "k99", "created_at", "junk")
    deployment.drain()
    commands.generate(deployment.context(), [EAST])
    deployment.reconcile()
    assert "k99" in deployment.vault.key_ids()
    assert record_of(deployment, "k99").placements == ()


def test_it_cannot_be_deleted_by_mistake(deployment: InMemoryDeployment) -> None:
    key = deployment.generate()
    arn = key.placements[0].arn
    damage(deployment, key.id, "state", "reticent", EAST)
    for delete in (
        lambda: delete_pair(deployment.context(), arn),
        lambda: commands.delete(deployment.context(), key.id, [EAST]),
        lambda: retire(deployment.context(), key.id, [EAST], "a test"),
    ):
        with pytest.raises(Conflict, match="cannot be read"):
            delete()
    assert arn in pairs(deployment)
    with pytest.raises(RowUnreadable):
        deployment.store.keys.record_deletion(key.id, key.placements[0].account_region, deployment.clock.at())


def test_it_can_be_compromised(deployment: InMemoryDeployment) -> None:
    key = deployment.generate()
    damage(deployment, key.id, "state", "reticent", EAST)
    commands.compromise(deployment.context(), key.id, [EAST], include_standby=False)
    assert key.placements[0].arn not in pairs(deployment)
    assert record_of(deployment, key.id).placements[0].state is KeyState.COMPROMISED
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert deployment.active() != key.id


def test_a_repaired_key_is_used_again(deployment: InMemoryDeployment) -> None:
    key = deployment.generate()
    damage(deployment, key.id, "state", "reticent", EAST)
    damage(deployment, key.id, "state", "active", EAST)
    assert deployment.active() == key.id
    deployment.reconcile()
    deployment.check_completed(EAST)


# --- workers


def region_keys(deployment: InMemoryDeployment, worker: CountingWorker, region: str = EAST) -> RegionKeys:
    worker.refresh.run_once()
    return worker.refresh.current.keyring.region_keys[AccountRegion(deployment.ivs.account, region)]


@pytest.fixture
def worker(deployment: InMemoryDeployment, clock: ManualClock) -> CountingWorker:
    deployment.clock = clock
    return CountingWorker(deployment, clock)


def test_it_does_not_sign_there_and_the_others_are_unaffected(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    key = deployment.generate(EAST, WEST)
    damage(deployment, key.id, "state", "reticent", EAST)
    east, west = region_keys(deployment, worker), region_keys(deployment, worker, WEST)
    assert east.active is None
    assert key.id not in east.verification_keys
    assert key.id in east.problem
    assert west.active is not None
    [warning] = worker.refresh.current.damage
    assert warning == f"key {key.id} cannot be read: in {EAST} state is not a state of a key"
    damage(deployment, key.id, "state", "active", EAST)
    assert region_keys(deployment, worker).active is not None, "it is read again although no version was raised"
    assert worker.refresh.current.damage == ()


def test_a_retiring_key_signs_in_its_place_while_that_is_safe(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    former = deployment.generate()
    latter = deployment.rotate()
    damage(deployment, latter, "state", "reticent", EAST)
    found = region_keys(deployment, worker)
    assert found.active is not None
    assert found.active.key_id == former.id
    assert latter in found.problem


def test_a_damaged_standby_is_a_warning_and_does_not_affect_its_region(migrated: Path, clock: ManualClock) -> None:
    deployment = InMemoryDeployment(migrated, None, POLICY._replace(standby=True), clock=clock)
    deployment.generate()
    deployment.reconcile()
    [(standby, _)] = deployment.placements(EAST, KeyState.PREPARED)
    damage(deployment, standby.id, "imported_at", "junk", EAST)
    worker = CountingWorker(deployment, clock)
    found = region_keys(deployment, worker)
    assert found.active is not None
    assert found.problem == ""
    assert len(worker.refresh.current.damage) == 1
