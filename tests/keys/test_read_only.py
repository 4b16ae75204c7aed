"""Looking at keys changes nothing: no row of the store, no private key in the vault, nothing in IVS."""

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


@pytest.fixture
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    made = InMemoryDeployment(migrated, tmp_path / "keys")
    commands.generate(made.context(), [EAST, WEST])
    return made


def sound(_stage: InMemoryDeployment) -> None:
    """Nothing is wrong."""


def unrecorded_import(stage: InMemoryDeployment) -> None:
    """A process ended between an import and its record."""
    key = keypair.generate()
    record = stage.store.keys.add("k77", "f", keypair.public_der(key.public_key()), stage.clock.at())
    stage.ivs.add_pair(EAST, key.public_key(), _tags(stage, record.id))


def unrecorded_compromise(stage: InMemoryDeployment) -> None:
    """The store was restored from a backup of before a compromise."""
    [pair] = stage.ivs.tagged(KEY_TAG, str(stage.active(EAST)))[:1]
    pair["tags"][COMPROMISED_TAG] = "2026-01-01T00:00:00Z"


def missing_pair(stage: InMemoryDeployment) -> None:
    """Somebody deleted a pair of ours in IVS."""
    stage.clock.advance(3600)
    stage.ivs.pairs.clear()


def stray(stage: InMemoryDeployment) -> None:
    """A compromised pair bears our tag and belongs to no key of the store."""
    tags = _tags(stage, "k99") | {COMPROMISED_TAG: "2026-01-01T00:00:00Z"}
    stage.ivs.add_pair(EAST, keypair.generate().public_key(), tags)


STATES = [sound, unrecorded_import, unrecorded_compromise, missing_pair, stray]
LOOKS: dict[str, Callable[[InMemoryDeployment], object]] = {
    "survey": lambda stage: [take_inventory(stage.context(), region) for region in (EAST, WEST)],
    "look": lambda stage: inspect(stage.context(), (EAST, WEST)),
    "foresee": lambda stage: commands.preview_compromise(
        stage.context(), str(stage.active(EAST)), include_standby=False
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", LOOKS)
def test_looking_changes_nothing(
    stage: InMemoryDeployment, state: Callable[[InMemoryDeployment], None], name: str
) -> None:
    state(stage)
    rows, private_keys = dump(stage.store), stage.vault.key_ids()
    stage.ivs.calls.clear()
    for _ in range(3):
        LOOKS[name](stage)
        stage.clock.advance(10)
    assert dump(stage.store) == rows
    assert stage.vault.key_ids() == private_keys
    assert {operation for _, operation, _ in stage.ivs.calls} <= {"ListPlaybackKeyPairs", "GetPlaybackKeyPair"}


@pytest.mark.parametrize("state", [unrecorded_import, unrecorded_compromise])
def test_an_update_records_what_a_look_only_finds(
    stage: InMemoryDeployment, state: Callable[[InMemoryDeployment], None]
) -> None:
    state(stage)
    found, rows = take_inventory(stage.context(), EAST).problems, dump(stage.store)
    seen = sync_inventory(stage.context(), EAST)
    assert len(set(found) - set(seen.problems)) == 1
    assert dump(stage.store) != rows
    assert seen.region_state == take_inventory(stage.context(), EAST).region_state


def _tags(stage: InMemoryDeployment, key_id: str) -> dict[str, str]:
    return {DEPLOYMENT_TAG: stage.store.deployment.read().id, KEY_TAG: key_id}
