"""Keys that end because somebody asked: retired, deleted by ARN, compromised and gone."""

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


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_retiring_the_key_that_signs_is_a_wish_for_another(deployment: InMemoryDeployment) -> None:
    key_id = deployment.generate(EAST, WEST).id
    request = retire(deployment.context(), key_id, (EAST,), "ada")
    assert request is not None
    assert (dict(request.previous_key_ids), request.requested_by) == ({EAST: key_id}, "ada")
    assert deployment.active() == key_id, "only a wish so far"
    commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert deployment.active() != key_id
    assert deployment.active(WEST) == key_id, "it was not asked for there"


def test_retiring_a_key_that_stands_ready_deletes_its_pair(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    ready = deployment.generate()
    assert retire(deployment.context(), ready.id, (EAST,), "ada") is None
    assert [placement.state for placement in require_key(deployment.store.keys.list(), ready.id).placements] == [
        KeyState.RETIRED
    ]
    deployment.check_settled(EAST)


def test_retiring_what_already_retires_changes_nothing(deployment: InMemoryDeployment) -> None:
    first = deployment.generate()
    deployment.rotate()
    before = deployment.store.keys.list()
    assert retire(deployment.context(), first.id, (EAST,), "ada") is None
    assert deployment.store.keys.list() == before
    with pytest.raises(KeyNotFound):
        retire(deployment.context(), "k0", (EAST,), "ada")


def test_a_key_that_was_only_made_is_forgotten(deployment: InMemoryDeployment) -> None:
    deployment.ivs.refuse["ImportPlaybackKeyPair"] = throttle()
    with pytest.raises(type(throttle())):
        deployment.generate()
    (record,) = deployment.store.keys.list()
    retire(deployment.context(), record.id, (EAST,), "ada")
    assert deployment.store.keys.list() == []
    assert deployment.vault.key_ids() == frozenset()


@pytest.mark.parametrize("tags", [{}, {DEPLOYMENT_TAG: "another", KEY_TAG: "k9"}, {KEY_TAG: "k1"}])
def test_a_pair_of_others_is_never_deleted_whoever_asks(deployment: InMemoryDeployment, tags: dict[str, str]) -> None:
    deployment.generate()
    (arn,) = deployment.ivs.add_foreign(EAST, tags=tags)
    with pytest.raises(KeyPairNotOwned, match="does not have the tag of this deployment"):
        delete_pair(deployment.context(), arn)
    assert arn in deployment.ivs.pairs


def test_a_pair_of_ours_goes_by_its_arn_under_the_rules_of_its_key(deployment: InMemoryDeployment) -> None:
    active = deployment.generate()
    ready = deployment.generate()
    with pytest.raises(Conflict, match="is active in"):
        delete_pair(deployment.context(), active.placements[0].arn)
    delete_pair(deployment.context(), ready.placements[0].arn)
    assert list(deployment.ivs.pairs) == [active.placements[0].arn]
    deployment.check_settled(EAST)


def test_a_pair_that_lost_its_tags_is_still_ours_where_the_store_knows_it(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    ready = deployment.generate()
    arn = ready.placements[0].arn
    deployment.ivs.pairs[arn]["tags"] = {}
    delete_pair(deployment.context(), arn)
    assert arn not in deployment.ivs.pairs


def test_our_tag_with_a_key_that_the_store_does_not_know_goes_only_when_it_is_named(
    deployment: InMemoryDeployment,
) -> None:
    deployment.generate()
    ours = {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: "klost"}
    arn = deployment.ivs.add_pair(EAST, generate().public_key(), ours)
    deployment.reconcile()
    assert arn in deployment.ivs.pairs, "never in the background"
    delete_pair(deployment.context(), arn)
    assert arn not in deployment.ivs.pairs
    (entry,) = deployment.store.journal.history("klost", 5)
    assert (entry.kind, entry.outcome) == ("delete", "done")
    with pytest.raises(ControlPlaneResourceMissing):
        delete_pair(deployment.context(), arn)


def test_a_compromised_pair_is_deleted_again_and_again_until_it_is_gone(deployment: InMemoryDeployment) -> None:
    key_id = deployment.generate().id
    deployment.ivs.refuse["DeletePlaybackKeyPair"] = outage()
    began_at = deployment.clock.at()
    commands.compromise(deployment.context(), key_id, (EAST,), include_standby=False)
    record = require_key(deployment.store.keys.list(), key_id)
    (left,) = compromise_report(record, POLICY)
    longest = record.placements[0].longest_ttl_seconds
    assert left == (EAST, None, began_at + timedelta(seconds=POLICY.drain_seconds(longest)))
    deployment.slept.clear()
    wait_until_deleted(deployment.context(), key_id, (EAST,))
    assert deployment.slept == list(RETRY_PAUSES_SECONDS), "then it is left to whoever performs next"
    deployment.ivs.refuse.clear()
    wait_until_deleted(deployment.context(), key_id, (EAST,))
    (gone,) = compromise_report(require_key(deployment.store.keys.list(), key_id), POLICY)
    assert gone.deleted_at == gone.valid_until == deployment.clock.at()
    before = len(deployment.slept)
    wait_until_deleted(deployment.context(), key_id, (EAST,))
    assert len(deployment.slept) == before


def test_what_was_gone_before_a_compromise_is_no_part_of_what_it_left(deployment: InMemoryDeployment) -> None:
    record = import_key(deployment.context(), generate(), (EAST,))
    commands.delete(deployment.context(), record.id, (EAST,))
    deployment.clock.advance(1)
    commands.compromise(deployment.context(), record.id, (EAST,), include_standby=False)
    assert compromise_report(require_key(deployment.store.keys.list(), record.id), POLICY) == []
