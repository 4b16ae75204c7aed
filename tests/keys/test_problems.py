"""The key lifecycle under manual changes, lost responses, wrong clocks and frozen processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import EVENT
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

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None)


@pytest.fixture
def with_standby(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None, POLICY._replace(standby=True))


def state(deployment: InMemoryDeployment, key_id: str) -> KeyState:
    return require_key(deployment.store.keys.list(), key_id).placements[0].state


def before(deployment: InMemoryDeployment, method: str, callback: Callable[[], None]) -> KeysContext:
    """A process in which something happens before its first call of this method of the store."""
    return replace(deployment.context(), keys=Before(deployment.store.keys, method, callback))


# --- manual changes to our pairs


def test_after_all_pairs_were_deleted_manually_another_key_becomes_active(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    deployment.ivs.pairs.clear()
    deployment.clock.advance(GRACE_SECONDS + 1)
    deployment.reconcile()
    assert deployment.active() == former, "the propagation delay of the next one applies in any case"
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert deployment.active() != former
    deployment.check_completed(EAST)


def test_a_lost_deletion_of_the_last_pair_in_an_unconfigured_region_is_repeated(
    deployment: InMemoryDeployment,
) -> None:
    """IVS shows nothing there, as in another account; the region in use verifies the account."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    ready = deployment.placements(WEST, KeyState.ACTIVE)
    del deployment.ivs.pairs[ready[0][1].arn]
    deployment.drain()
    deployment.ivs.errors[WEST] = outage()
    deployment.reconcile(EAST)
    del deployment.ivs.errors[WEST]
    deployment.ivs.losses["DeletePlaybackKeyPair"] = "after"
    deployment.reconcile(EAST)
    assert not [arn for arn in deployment.ivs.pairs if WEST in arn]
    deployment.reconcile(EAST)
    assert not deployment.placements(WEST, KeyState.RETIRING)
    assert not deployment.store.journal.open_entries()


def test_a_pair_that_a_list_omits_is_not_absent(deployment: InMemoryDeployment) -> None:
    """Lists may lag, and deleting such a pair would invalidate valid tokens."""
    former = deployment.generate().id
    deployment.rotate()
    deployment.clock.advance(GRACE_SECONDS + 1)
    listed = deployment.ivs._ListPlaybackKeyPairs
    left_out = require_key(deployment.store.keys.list(), former).placements[0].arn

    def lag(region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        response = listed(region, request)
        return {**response, "keyPairs": [pair for pair in response["keyPairs"] if pair["arn"] != left_out]}

    deployment.ivs._ListPlaybackKeyPairs = lag  # type: ignore[method-assign]
    [result] = deployment.reconcile()
    assert (state(deployment, former), result.problems) == (KeyState.RETIRING, ())
    assert left_out in deployment.ivs.pairs


def test_changed_tags_are_reported_and_delay_nothing(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    ready, elsewhere = deployment.generate().id, deployment.import_and_activate(WEST).id
    [mistagged] = [pair for pair in deployment.ivs.pairs.values() if pair["tags"][KEY_TAG] == ready]
    mistagged["tags"][KEY_TAG] = elsewhere
    assert deployment.rotate() == ready


def test_a_second_pair_of_ours_is_reported_and_not_deleted(
    deployment: InMemoryDeployment,
) -> None:
    key_id = deployment.generate().id
    [arn] = deployment.ivs.add_foreign(
        EAST, 1, {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: key_id}
    )
    [result] = deployment.reconcile()
    assert any(arn in problem for problem in texts(result.problems))
    assert arn in deployment.ivs.pairs


def test_a_key_that_ivs_does_not_hold_cannot_be_activated(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    ready = deployment.generate()
    del deployment.ivs.pairs[ready.placements[0].arn]
    deployment.clock.advance(GRACE_SECONDS + 1)
    with pytest.raises(Conflict, match="does not hold"):
        commands.activate(deployment.context(), ready.id, [EAST])


# --- imports that succeed late or without a response


def test_an_import_that_succeeds_after_its_key_was_deleted_is_deleted_too(
    deployment: InMemoryDeployment,
) -> None:
    """By a process that was frozen between its decision and its call, for longer than the key existed."""
    former = deployment.generate()
    deployment.rotate()
    deployment.drain()
    deployment.reconcile()
    assert state(deployment, former.id) is KeyState.RETIRED
    tags = {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: former.id}
    material = public_pem(read_public_der(former.public_der))
    deployment.ivs.call(EAST, "ImportPlaybackKeyPair", {"publicKeyMaterial": material, "tags": tags})
    deployment.reconcile()
    deployment.check_completed(EAST)


def test_an_import_that_can_no_longer_be_recorded_is_undone(deployment: InMemoryDeployment) -> None:
    """Its record was discarded, because its private key was lost, while the importing process was frozen."""

    def discard() -> None:
        [record] = deployment.store.keys.list()
        deployment.vault.remove(record.id)
        deployment.store.keys.discard(record.id, event=EVENT)

    [result] = reconcile(before(deployment, "record_import", discard), [EAST])
    assert any("there is no key" in words for words in texts(result.problems))
    assert not deployment.ivs.pairs


def test_a_different_fingerprint_is_noticed_although_the_response_was_lost(deployment: InMemoryDeployment) -> None:
    deployment.ivs.fingerprint_of = lambda _key: "00:11"
    deployment.ivs.losses["ImportPlaybackKeyPair"] = "after"
    for _ in range(3):
        deployment.reconcile()
        deployment.clock.advance(POLICY.propagation_seconds)
    [(_, placement)] = deployment.placements(EAST, KeyState.PREPARED)
    assert placement.fingerprint_differs


def test_an_unrecorded_import_is_found_even_in_an_unconfigured_region(
    deployment: InMemoryDeployment,
) -> None:
    deployment.generate(EAST)

    def fail() -> None:
        raise StoreUnavailable("the store does not answer")

    reconcile(before(deployment, "record_import", fail), [EAST, WEST])
    assert len(deployment.ivs.pairs) == 2, "imported in both"
    assert not deployment.placements(WEST, KeyState.PREPARED)
    deployment.reconcile(EAST)
    assert deployment.placements(WEST, KeyState.PREPARED)


def test_a_record_is_not_discarded_while_its_import_may_succeed(deployment: InMemoryDeployment) -> None:
    """Its private key is lost, but without the record its pair could not be recognized as ours."""
    deployment.ivs.losses["ImportPlaybackKeyPair"] = "after"
    deployment.reconcile()
    [record] = deployment.store.keys.list()
    deployment.vault.remove(record.id)
    deployment.ivs.errors[EAST] = outage()
    deployment.clock.advance(GRACE_SECONDS + 1)
    deployment.reconcile()
    assert [known.id for known in deployment.store.keys.list()] == [record.id]
    del deployment.ivs.errors[EAST]
    deployment.reconcile()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert [placement.key_id for _, placement in deployment.placements(EAST, KeyState.PREPARED)] == [record.id]
    deployment.drain()  # a restored store may have lost that it signed
    deployment.reconcile()
    deployment.check_completed(EAST)


# --- clocks, leases, stray steps


def test_a_clock_that_was_set_back_generates_no_second_key(deployment: InMemoryDeployment) -> None:
    """By their dates, keys that are generated now are older than the active one."""
    deployment.generate()
    deployment.clock.wall -= 3600
    deployment.rotate()
    assert len(deployment.store.keys.list()) == 2


def test_a_lease_that_is_lost_during_a_run_is_waited_for(deployment: InMemoryDeployment) -> None:
    answers = itertools.chain([True, True, False, False], itertools.repeat(True))
    commands.generate(replace(deployment.context(), acquire_lease=lambda: next(answers)), [EAST])
    assert "the rotation leader handles the rotation; waiting for it to finish" in deployment.reports
    deployment.check_completed(EAST)


def test_an_open_step_in_a_region_without_keys_is_closed_without_calling_ivs(
    deployment: InMemoryDeployment,
) -> None:
    deployment.generate(EAST, WEST)
    deployment.store.journal.start(StepKind.DELETE, "k9", "eu-west-1", "because", deployment.clock.at(), event=EVENT)
    deployment.clock.advance(GRACE_SECONDS + 1)
    deployment.reconcile(EAST, WEST)
    assert not deployment.store.journal.open_entries()
    assert "eu-west-1" not in {region for region, *_ in deployment.ivs.calls}


def test_deleting_a_key_in_an_unconfigured_region_imports_no_other(with_standby: InMemoryDeployment) -> None:
    deployment = with_standby
    deployment.generate(EAST, WEST)
    [(ready, _)] = deployment.placements(WEST, KeyState.PREPARED)
    commands.delete(deployment.context(), ready.id, [WEST])
    assert [r.id for r, _ in deployment.placements(WEST, KeyState.RETIRED)] == [ready.id]
    assert not deployment.placements(WEST, KeyState.PREPARED)


# --- compromise


def test_a_standby_without_its_private_key_does_not_take_over(with_standby: InMemoryDeployment) -> None:
    deployment = with_standby
    former = deployment.generate().id
    latter = deployment.rotate()
    deployment.clock.advance(POLICY.propagation_seconds)
    [(ready, _)] = deployment.placements(EAST, KeyState.PREPARED)
    deployment.vault.remove(ready.id)
    [prospect] = commands.preview_compromise(deployment.context(), latter, include_standby=False)
    assert prospect.successor == former
    commands.compromise(deployment.context(), latter, [EAST], include_standby=False)
    assert deployment.active() == former
    assert state(deployment, ready.id) is KeyState.RETIRED


def test_a_delayed_deletion_does_not_delete_a_key_that_has_signed_again(
    with_standby: InMemoryDeployment,
) -> None:
    """It had drained, was reactivated after a compromise and retires again; its new tokens are valid."""
    deployment = with_standby
    former = deployment.generate().id
    latter = deployment.rotate()
    deployment.drain()

    def meanwhile() -> None:
        commands.compromise(
            replace(deployment.context(), acquire_lease=lambda: False), latter, [EAST], include_standby=True
        )
        assert deployment.active() == former
        deployment.rotate()
        assert state(deployment, former) is KeyState.RETIRING

    [result] = reconcile(before(deployment, "start_deletion", meanwhile), [EAST])
    assert isinstance(result.error, ConcurrentModification)
    deployment.check_invariants()
    assert state(deployment, former) is KeyState.RETIRING
