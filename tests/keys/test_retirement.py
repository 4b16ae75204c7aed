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
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_retiring_the_key_that_signs_is_a_wish_for_another(stage: InMemoryDeployment) -> None:
    key_id = stage.generate(EAST, WEST).id
    wish = retire(stage.context(), key_id, (EAST,), "ada")
    assert wish is not None
    assert (dict(wish.previous_key_ids), wish.requested_by) == ({EAST: key_id}, "ada")
    assert stage.active() == key_id, "only a wish so far"
    commands.reconcile_and_wait(stage.context(), (EAST,))
    assert stage.active() != key_id
    assert stage.active(WEST) == key_id, "it was not asked for there"


def test_retiring_a_key_that_stands_ready_deletes_its_pair(stage: InMemoryDeployment) -> None:
    stage.generate()
    ready = stage.generate()
    assert retire(stage.context(), ready.id, (EAST,), "ada") is None
    assert [there.state for there in require_key(stage.store.keys.list(), ready.id).placements] == [KeyState.RETIRED]
    stage.check_settled(EAST)


def test_retiring_what_already_retires_changes_nothing(stage: InMemoryDeployment) -> None:
    first = stage.generate()
    stage.rotate()
    before = stage.store.keys.list()
    assert retire(stage.context(), first.id, (EAST,), "ada") is None
    assert stage.store.keys.list() == before
    with pytest.raises(KeyNotFound):
        retire(stage.context(), "k0", (EAST,), "ada")


def test_a_key_that_was_only_made_is_forgotten(stage: InMemoryDeployment) -> None:
    stage.ivs.refuse["ImportPlaybackKeyPair"] = throttle()
    with pytest.raises(type(throttle())):
        stage.generate()
    (record,) = stage.store.keys.list()
    retire(stage.context(), record.id, (EAST,), "ada")
    assert stage.store.keys.list() == []
    assert stage.vault.key_ids() == frozenset()


@pytest.mark.parametrize("tags", [{}, {DEPLOYMENT_TAG: "another", KEY_TAG: "k9"}, {KEY_TAG: "k1"}])
def test_a_pair_of_others_is_never_deleted_whoever_asks(stage: InMemoryDeployment, tags: dict[str, str]) -> None:
    stage.generate()
    (arn,) = stage.ivs.add_foreign(EAST, tags=tags)
    with pytest.raises(KeyPairNotOwned, match="left alone"):
        delete_pair(stage.context(), arn)
    assert arn in stage.ivs.pairs


def test_a_pair_of_ours_goes_by_its_arn_under_the_rules_of_its_key(stage: InMemoryDeployment) -> None:
    active = stage.generate()
    ready = stage.generate()
    with pytest.raises(Conflict, match="signs in"):
        delete_pair(stage.context(), active.placements[0].arn)
    delete_pair(stage.context(), ready.placements[0].arn)
    assert list(stage.ivs.pairs) == [active.placements[0].arn]
    stage.check_settled(EAST)


def test_a_pair_that_lost_its_tags_is_still_ours_where_the_store_knows_it(stage: InMemoryDeployment) -> None:
    stage.generate()
    ready = stage.generate()
    arn = ready.placements[0].arn
    stage.ivs.pairs[arn]["tags"] = {}
    delete_pair(stage.context(), arn)
    assert arn not in stage.ivs.pairs


def test_our_tag_with_a_key_that_the_store_does_not_know_goes_only_when_it_is_named(stage: InMemoryDeployment) -> None:
    stage.generate()
    ours = {DEPLOYMENT_TAG: stage.store.deployment.read().id, KEY_TAG: "klost"}
    arn = stage.ivs.add_pair(EAST, generate().public_key(), ours)
    stage.reconcile()
    assert arn in stage.ivs.pairs, "never in the background"
    delete_pair(stage.context(), arn)
    assert arn not in stage.ivs.pairs
    (entry,) = stage.store.journal.history("klost", 5)
    assert (entry.kind, entry.outcome) == ("delete", "done")
    with pytest.raises(ControlPlaneResourceMissing):
        delete_pair(stage.context(), arn)


def test_a_compromised_pair_is_deleted_again_and_again_until_it_is_gone(stage: InMemoryDeployment) -> None:
    key_id = stage.generate().id
    stage.ivs.refuse["DeletePlaybackKeyPair"] = outage()
    began_at = stage.clock.at()
    commands.compromise(stage.context(), key_id, (EAST,), include_standby=False)
    record = require_key(stage.store.keys.list(), key_id)
    (left,) = compromise_report(record, POLICY)
    longest = record.placements[0].longest_ttl_seconds
    assert left == (EAST, None, began_at + timedelta(seconds=POLICY.drain_seconds(longest)))
    stage.slept.clear()
    wait_until_deleted(stage.context(), key_id, (EAST,))
    assert stage.slept == list(RETRY_PAUSES_SECONDS), "then it is left to whoever performs next"
    stage.ivs.refuse.clear()
    wait_until_deleted(stage.context(), key_id, (EAST,))
    (gone,) = compromise_report(require_key(stage.store.keys.list(), key_id), POLICY)
    assert gone.deleted_at == gone.valid_until == stage.clock.at()
    before = len(stage.slept)
    wait_until_deleted(stage.context(), key_id, (EAST,))
    assert len(stage.slept) == before


def test_what_was_gone_before_a_compromise_is_no_part_of_what_it_left(stage: InMemoryDeployment) -> None:
    record = import_key(stage.context(), generate(), (EAST,))
    commands.delete(stage.context(), record.id, (EAST,))
    stage.clock.advance(1)
    commands.compromise(stage.context(), record.id, (EAST,), include_standby=False)
    assert compromise_report(require_key(stage.store.keys.list(), record.id), POLICY) == []
