"""Reading keys changes nothing: no row of the store, no private key in the vault, nothing in IVS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.in_memory_deployment import EAST, WEST, InMemoryDeployment
from tests.support.stores import dump
from tokensvc.jose import keypair
from tokensvc.keys import commands
from tokensvc.keys.inventory import COMPROMISED_TAG, DEPLOYMENT_TAG, KEY_TAG, sync_inventory, take_inventory
from tokensvc.keys.reconciler import inspect

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    made = InMemoryDeployment(migrated, tmp_path / "keys")
    commands.generate(made.context(), [EAST, WEST])
    return made


def nothing_wrong(_deployment: InMemoryDeployment) -> None:
    """Nothing is wrong."""


def unrecorded_import(deployment: InMemoryDeployment) -> None:
    """A process was killed between an import and its record."""
    key = keypair.generate()
    record = deployment.store.keys.add("k77", "f", keypair.public_der(key.public_key()), deployment.clock.at())
    deployment.ivs.add_pair(EAST, key.public_key(), _tags(deployment, record.id))


def unrecorded_compromise(deployment: InMemoryDeployment) -> None:
    """The store was restored from a backup older than a compromise."""
    [pair] = deployment.ivs.tagged(KEY_TAG, str(deployment.active(EAST)))[:1]
    pair["tags"][COMPROMISED_TAG] = "2026-01-01T00:00:00Z"


def missing_pair(deployment: InMemoryDeployment) -> None:
    """A pair of ours was deleted manually in IVS."""
    deployment.clock.advance(3600)
    deployment.ivs.pairs.clear()


def stray(deployment: InMemoryDeployment) -> None:
    """A compromised pair has our tag, and its key is not in the store."""
    tags = _tags(deployment, "k99") | {COMPROMISED_TAG: "2026-01-01T00:00:00Z"}
    deployment.ivs.add_pair(EAST, keypair.generate().public_key(), tags)


STATES = [nothing_wrong, unrecorded_import, unrecorded_compromise, missing_pair, stray]
READS: dict[str, Callable[[InMemoryDeployment], object]] = {
    "take_inventory": lambda deployment: [take_inventory(deployment.context(), region) for region in (EAST, WEST)],
    "inspect": lambda deployment: inspect(deployment.context(), (EAST, WEST)),
    "preview_compromise": lambda deployment: commands.preview_compromise(
        deployment.context(), str(deployment.active(EAST)), include_standby=False
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", READS)
def test_reading_changes_nothing(
    deployment: InMemoryDeployment, state: Callable[[InMemoryDeployment], None], name: str
) -> None:
    state(deployment)
    rows, private_keys = dump(deployment.store), deployment.vault.key_ids()
    deployment.ivs.calls.clear()
    for _ in range(3):
        READS[name](deployment)
        deployment.clock.advance(10)
    assert dump(deployment.store) == rows
    assert deployment.vault.key_ids() == private_keys
    assert {operation for _, operation, _ in deployment.ivs.calls} <= {"ListPlaybackKeyPairs", "GetPlaybackKeyPair"}


@pytest.mark.parametrize("state", [unrecorded_import, unrecorded_compromise])
def test_a_sync_records_what_an_inventory_only_reports(
    deployment: InMemoryDeployment, state: Callable[[InMemoryDeployment], None]
) -> None:
    state(deployment)
    found, rows = take_inventory(deployment.context(), EAST).problems, dump(deployment.store)
    inventory = sync_inventory(deployment.context(), EAST)
    assert len(set(found) - set(inventory.problems)) == 1
    assert dump(deployment.store) != rows
    assert inventory.region_state == take_inventory(deployment.context(), EAST).region_state


def _tags(deployment: InMemoryDeployment, key_id: str) -> dict[str, str]:
    return {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: key_id}
