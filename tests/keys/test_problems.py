"""The life of our keys while others meddle, answers are lost, clocks differ and processes stand still."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.crashes import Before
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.simulated_ivs import outage
from tokensvc.errors import ConcurrentModification, Conflict, StoreUnavailable
from tokensvc.jose.keypair import public_pem, read_public_der
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import DEPLOYMENT_TAG, GRACE_SECONDS, KEY_TAG
from tokensvc.keys.lifecycle import KeyState, StepKind, require_key
from tokensvc.keys.reconciler import reconcile


@pytest.fixture
def stage(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None)


@pytest.fixture
def with_standby(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None, POLICY._replace(standby=True))


def state(stage: InMemoryDeployment, key_id: str) -> KeyState:
    return require_key(stage.store.keys.list(), key_id).placements[0].state


def before(stage: InMemoryDeployment, method: str, does: Callable[[], None]) -> KeysContext:
    """A process in which something happens before it first asks the store this of a key."""
    return replace(stage.context(), keys=Before(stage.store.keys, method, does))


# --- somebody meddles with our pairs


def test_where_somebody_deleted_every_pair_by_hand_another_key_signs(stage: InMemoryDeployment) -> None:
    former = stage.generate().id
    stage.ivs.pairs.clear()
    stage.clock.advance(GRACE_SECONDS + 1)
    stage.reconcile()
    assert stage.active() == former, "IVS must hold the next one for the lead, whatever happened"
    stage.clock.advance(POLICY.propagation_seconds)
    stage.reconcile()
    assert stage.active() != former
    stage.check_settled(EAST)


def test_a_lost_deletion_of_the_last_pair_in_a_region_that_is_given_up_is_made_good(stage: InMemoryDeployment) -> None:
    """There IVS shows nothing, which could be another account's; the region that is in use tells that it is ours."""
    stage.generate(EAST, WEST)
    stage.rotate(EAST, WEST)
    ready = stage.placements(WEST, KeyState.ACTIVE)
    del stage.ivs.pairs[ready[0][1].arn]
    stage.drain()
    stage.ivs.refuse[WEST] = outage()
    stage.reconcile(EAST)
    del stage.ivs.refuse[WEST]
    stage.ivs.lose["DeletePlaybackKeyPair"] = "after"
    stage.reconcile(EAST)
    assert not [arn for arn in stage.ivs.pairs if WEST in arn]
    stage.reconcile(EAST)
    assert not stage.placements(WEST, KeyState.RETIRING)
    assert not stage.store.journal.open_entries()


def test_a_pair_that_a_list_left_out_is_not_taken_for_missing(stage: InMemoryDeployment) -> None:
    """Lists may lag behind, and a pair that is deleted for it would take living tokens with it."""
    former = stage.generate().id
    stage.rotate()
    stage.clock.advance(GRACE_SECONDS + 1)
    listed = stage.ivs._ListPlaybackKeyPairs
    left_out = require_key(stage.store.keys.list(), former).placements[0].arn

    def lag(region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        answer = listed(region, request)
        return {**answer, "keyPairs": [pair for pair in answer["keyPairs"] if pair["arn"] != left_out]}

    stage.ivs._ListPlaybackKeyPairs = lag  # type: ignore[method-assign]
    [outlook] = stage.reconcile()
    assert (state(stage, former), outlook.problems) == (KeyState.RETIRING, ())
    assert left_out in stage.ivs.pairs


def test_tags_that_somebody_changed_are_a_finding_and_hold_nothing_up(stage: InMemoryDeployment) -> None:
    stage.generate()
    ready, elsewhere = stage.generate().id, stage.bring(WEST).id
    [mistagged] = [pair for pair in stage.ivs.pairs.values() if pair["tags"][KEY_TAG] == ready]
    mistagged["tags"][KEY_TAG] = elsewhere
    assert stage.rotate() == ready


def test_a_pair_of_ours_that_turns_up_beside_the_one_we_know_is_a_finding_and_stays(stage: InMemoryDeployment) -> None:
    key_id = stage.generate().id
    [arn] = stage.ivs.add_foreign(EAST, 1, {DEPLOYMENT_TAG: stage.store.deployment.read().id, KEY_TAG: key_id})
    [outlook] = stage.reconcile()
    assert any(arn in finding for finding in texts(outlook.problems))
    assert arn in stage.ivs.pairs


def test_a_key_that_ivs_does_not_hold_is_put_to_work_by_nobody(stage: InMemoryDeployment) -> None:
    stage.generate()
    ready = stage.generate()
    del stage.ivs.pairs[ready.placements[0].arn]
    stage.clock.advance(GRACE_SECONDS + 1)
    with pytest.raises(Conflict, match="does not hold"):
        commands.activate(stage.context(), ready.id, [EAST])


# --- imports that come about late or unheard


def test_an_import_that_comes_about_after_its_key_was_deleted_there_is_deleted_too(stage: InMemoryDeployment) -> None:
    """By a process that stood still between deciding and asking, longer than the key lived."""
    former = stage.generate()
    stage.rotate()
    stage.drain()
    stage.reconcile()
    assert state(stage, former.id) is KeyState.RETIRED
    tags = {DEPLOYMENT_TAG: stage.store.deployment.read().id, KEY_TAG: former.id}
    material = public_pem(read_public_der(former.public_der))
    stage.ivs.call(EAST, "ImportPlaybackKeyPair", {"publicKeyMaterial": material, "tags": tags})
    stage.reconcile()
    stage.check_settled(EAST)


def test_an_import_that_cannot_be_noted_any_more_is_taken_back(stage: InMemoryDeployment) -> None:
    """Its record was given up, since its private half was lost, while whoever imports it stood still."""

    def give_up() -> None:
        [record] = stage.store.keys.list()
        stage.vault.remove(record.id)
        stage.store.keys.discard(record.id)

    [outlook] = reconcile(before(stage, "record_import", give_up), [EAST])
    assert any("there is no key" in words for words in texts(outlook.problems))
    assert not stage.ivs.pairs


def test_a_fingerprint_that_differs_is_seen_although_the_import_was_not_heard(stage: InMemoryDeployment) -> None:
    stage.ivs.fingerprint_of = lambda _key: "00:11"
    stage.ivs.lose["ImportPlaybackKeyPair"] = "after"
    for _ in range(3):
        stage.reconcile()
        stage.clock.advance(POLICY.propagation_seconds)
    [(_, there)] = stage.placements(EAST, KeyState.PREPARED)
    assert there.fingerprint_differs


def test_an_import_that_the_store_could_not_note_is_found_even_where_no_key_is_wanted_any_more(
    stage: InMemoryDeployment,
) -> None:
    stage.generate(EAST)

    def fail() -> None:
        raise StoreUnavailable("the store does not answer")

    reconcile(before(stage, "record_import", fail), [EAST, WEST])
    assert len(stage.ivs.pairs) == 2, "imported in both"
    assert not stage.placements(WEST, KeyState.PREPARED)
    stage.reconcile(EAST)
    assert stage.placements(WEST, KeyState.PREPARED)


def test_a_record_stays_while_its_import_may_come_about(stage: InMemoryDeployment) -> None:
    """Its private half is lost, but without the record nobody would know the pair for ours."""
    stage.ivs.lose["ImportPlaybackKeyPair"] = "after"
    stage.reconcile()
    [record] = stage.store.keys.list()
    stage.vault.remove(record.id)
    stage.ivs.refuse[EAST] = outage()
    stage.clock.advance(GRACE_SECONDS + 1)
    stage.reconcile()
    assert [known.id for known in stage.store.keys.list()] == [record.id]
    del stage.ivs.refuse[EAST]
    stage.reconcile()
    stage.clock.advance(POLICY.propagation_seconds)
    stage.reconcile()
    assert [there.key_id for _, there in stage.placements(EAST, KeyState.PREPARED)] == [record.id]
    stage.drain()  # a restored store may have forgotten that it signed
    stage.reconcile()
    stage.check_settled(EAST)


# --- clocks, leases, stray steps


def test_a_clock_that_was_set_back_makes_no_key_twice(stage: InMemoryDeployment) -> None:
    """By its date no key that is made now is newer than the one that signs."""
    stage.generate()
    stage.clock.wall -= 3600
    stage.rotate()
    assert len(stage.store.keys.list()) == 2


def test_a_lease_that_is_lost_on_the_way_is_waited_for(stage: InMemoryDeployment) -> None:
    answers = itertools.chain([True, True, False, False], itertools.repeat(True))
    commands.generate(replace(stage.context(), acquire_lease=lambda: next(answers)), [EAST])
    assert "another process performs; waiting for it" in stage.reports
    stage.check_settled(EAST)


def test_a_step_that_was_begun_in_a_region_where_nothing_is_left_is_settled_without_asking_ivs(
    stage: InMemoryDeployment,
) -> None:
    stage.generate(EAST, WEST)
    stage.store.journal.start(StepKind.DELETE, "k9", "eu-west-1", "because", stage.clock.at())
    stage.clock.advance(GRACE_SECONDS + 1)
    stage.reconcile(EAST, WEST)
    assert not stage.store.journal.open_entries()
    assert "eu-west-1" not in {region for region, *_ in stage.ivs.calls}


def test_deleting_a_key_where_none_is_wanted_brings_no_other(with_standby: InMemoryDeployment) -> None:
    stage = with_standby
    stage.generate(EAST, WEST)
    [(ready, _)] = stage.placements(WEST, KeyState.PREPARED)
    commands.delete(stage.context(), ready.id, [WEST])
    assert [r.id for r, _ in stage.placements(WEST, KeyState.RETIRED)] == [ready.id]
    assert not stage.placements(WEST, KeyState.PREPARED)


# --- compromise


def test_a_standby_whose_private_half_is_lost_does_not_take_over(with_standby: InMemoryDeployment) -> None:
    stage = with_standby
    former = stage.generate().id
    latter = stage.rotate()
    stage.clock.advance(POLICY.propagation_seconds)
    [(ready, _)] = stage.placements(EAST, KeyState.PREPARED)
    stage.vault.remove(ready.id)
    [prospect] = commands.preview_compromise(stage.context(), latter, include_standby=False)
    assert prospect.successor == former
    commands.compromise(stage.context(), latter, [EAST], include_standby=False)
    assert stage.active() == former
    assert state(stage, ready.id) is KeyState.RETIRED


def test_a_deletion_that_stood_still_does_not_take_a_key_that_has_signed_again(
    with_standby: InMemoryDeployment,
) -> None:
    """It had drained; a compromise called it back; it retires again, and its new tokens live."""
    stage = with_standby
    former = stage.generate().id
    latter = stage.rotate()
    stage.drain()

    def meanwhile() -> None:
        commands.compromise(replace(stage.context(), acquire_lease=lambda: False), latter, [EAST], include_standby=True)
        assert stage.active() == former
        stage.rotate()
        assert state(stage, former) is KeyState.RETIRING

    [outlook] = reconcile(before(stage, "start_deletion", meanwhile), [EAST])
    assert isinstance(outlook.error, ConcurrentModification)
    stage.check_always()
    assert state(stage, former) is KeyState.RETIRING
