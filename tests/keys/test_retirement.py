"""Keys that are retired, deleted by ARN, or deleted after a compromise, on request."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.simulated_ivs import outage, throttle
from tokensvc.errors import Conflict, ControlPlaneResourceMissing, KeyNotFound, KeyPairNotOwned
from tokensvc.jose.keypair import generate
from tokensvc.keys import commands
from tokensvc.keys.importing import import_key
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG
from tokensvc.keys.lifecycle import KeyState, require_key
from tokensvc.keys.retirement import RETRY_PAUSES_SECONDS, compromise_report, delete_pair, retire, wait_until_deleted

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_retiring_the_active_key_requests_a_rotation(deployment: InMemoryDeployment) -> None:
    key_id = deployment.generate(EAST, WEST).id
    request = retire(deployment.context(), key_id, (EAST,), "ada")
    assert request is not None
    assert (dict(request.previous_key_ids), request.requested_by) == ({EAST: key_id}, "ada")
    assert deployment.active() == key_id, "only requested so far"
    commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert deployment.active() != key_id
    assert deployment.active(WEST) == key_id, "no rotation was requested there"


def test_retiring_a_standby_deletes_its_pair(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    ready = deployment.generate()
    assert retire(deployment.context(), ready.id, (EAST,), "ada") is None
    assert [placement.state for placement in require_key(deployment.store.keys.list(), ready.id).placements] == [
        KeyState.RETIRED
    ]
    deployment.check_completed(EAST)


def test_retiring_a_retiring_key_changes_nothing(deployment: InMemoryDeployment) -> None:
    first = deployment.generate()
    deployment.rotate()
    before = deployment.store.keys.list()
    assert retire(deployment.context(), first.id, (EAST,), "ada") is None
    assert deployment.store.keys.list() == before
    with pytest.raises(KeyNotFound):
        retire(deployment.context(), "k0", (EAST,), "ada")


def test_a_key_that_was_never_imported_is_discarded(deployment: InMemoryDeployment) -> None:
    deployment.ivs.errors["ImportPlaybackKeyPair"] = throttle()
    with pytest.raises(type(throttle())):
        deployment.generate()
    (record,) = deployment.store.keys.list()
    retire(deployment.context(), record.id, (EAST,), "ada")
    assert deployment.store.keys.list() == []
    assert deployment.vault.key_ids() == frozenset()


@pytest.mark.parametrize("tags", [{}, {DEPLOYMENT_TAG: "another", KEY_TAG: "k9"}, {KEY_TAG: "k1"}])
def test_a_foreign_pair_is_never_deleted(deployment: InMemoryDeployment, tags: dict[str, str]) -> None:
    deployment.generate()
    (arn,) = deployment.ivs.add_foreign(EAST, tags=tags)
    with pytest.raises(KeyPairNotOwned, match="does not have the tag of this deployment"):
        delete_pair(deployment.context(), arn)
    assert arn in deployment.ivs.pairs


def test_deletion_by_arn_follows_the_rules_for_keys(deployment: InMemoryDeployment) -> None:
    active = deployment.generate()
    ready = deployment.generate()
    with pytest.raises(Conflict, match="is active in"):
        delete_pair(deployment.context(), active.placements[0].arn)
    delete_pair(deployment.context(), ready.placements[0].arn)
    assert list(deployment.ivs.pairs) == [active.placements[0].arn]
    deployment.check_completed(EAST)


def test_a_recorded_pair_without_tags_can_be_deleted(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    ready = deployment.generate()
    arn = ready.placements[0].arn
    deployment.ivs.pairs[arn]["tags"] = {}
    delete_pair(deployment.context(), arn)
    assert arn not in deployment.ivs.pairs


def test_a_pair_of_an_unknown_key_is_deleted_only_by_its_arn(
    deployment: InMemoryDeployment,
) -> None:
    deployment.generate()
    ours = {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: "klost"}
    arn = deployment.ivs.add_pair(EAST, generate().public_key(), ours)
    deployment.reconcile()
    assert arn in deployment.ivs.pairs, "never automatically"
    delete_pair(deployment.context(), arn)
    assert arn not in deployment.ivs.pairs
    (entry,) = deployment.store.journal.history("klost", 5)
    assert (entry.kind, entry.outcome) == ("delete", "done")
    with pytest.raises(ControlPlaneResourceMissing):
        delete_pair(deployment.context(), arn)


def test_the_deletion_of_a_compromised_pair_is_retried(deployment: InMemoryDeployment) -> None:
    key_id = deployment.generate().id
    deployment.ivs.errors["DeletePlaybackKeyPair"] = outage()
    started_at = deployment.clock.at()
    commands.compromise(deployment.context(), key_id, (EAST,), include_standby=False)
    record = require_key(deployment.store.keys.list(), key_id)
    (report,) = compromise_report(record, POLICY)
    longest = record.placements[0].longest_ttl_seconds
    assert report == (EAST, None, started_at + timedelta(seconds=POLICY.drain_seconds(longest)))
    deployment.slept.clear()
    wait_until_deleted(deployment.context(), key_id, (EAST,))
    assert deployment.slept == list(RETRY_PAUSES_SECONDS), "then it is left to the rotation leader"
    deployment.ivs.errors.clear()
    wait_until_deleted(deployment.context(), key_id, (EAST,))
    (final,) = compromise_report(require_key(deployment.store.keys.list(), key_id), POLICY)
    assert final.deleted_at == final.valid_until == deployment.clock.at()
    before = len(deployment.slept)
    wait_until_deleted(deployment.context(), key_id, (EAST,))
    assert len(deployment.slept) == before


def test_a_pair_deleted_before_the_compromise_is_not_in_its_report(deployment: InMemoryDeployment) -> None:
    record = import_key(deployment.context(), generate(), (EAST,))
    commands.delete(deployment.context(), record.id, (EAST,))
    deployment.clock.advance(1)
    commands.compromise(deployment.context(), record.id, (EAST,), include_standby=False)
    assert compromise_report(require_key(deployment.store.keys.list(), record.id), POLICY) == []
