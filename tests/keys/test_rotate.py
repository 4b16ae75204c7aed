"""The key lifecycle on a real store and vault and a simulated IVS."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.audit import EVENT
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.simulated_ivs import Lost, outage
from tokensvc.errors import Action, ControlPlaneUnavailable, ForeignDeployment, KeyPairQuotaReached, Remedy
from tokensvc.jose import keypair
from tokensvc.keys import commands
from tokensvc.keys.inventory import DEPLOYMENT_TAG, GRACE_SECONDS, KEY_TAG
from tokensvc.keys.lifecycle import ACCEPTED_STATES, KeyState, drains_at

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_generate_stores_and_imports_a_key(deployment: InMemoryDeployment) -> None:
    record = deployment.generate()
    [pair] = deployment.ivs.pairs.values()
    private_key = deployment.vault.load(record.id)
    assert pair["material"] == keypair.public_pem(private_key.public_key())
    assert pair["tags"] == {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: record.id}
    assert pair["fingerprint"] == record.fingerprint
    assert record.placements[0].arn == pair["arn"]
    assert deployment.active() == record.id
    assert deployment.store.deployment.read().account == deployment.ivs.account
    deployment.check_completed(EAST)


def test_a_key_becomes_active_after_its_propagation_delay(deployment: InMemoryDeployment) -> None:
    record = deployment.generate()
    placement = record.placements[0]
    assert placement.activated_at is not None
    assert placement.activated_at - placement.imported_at == timedelta(seconds=POLICY.propagation_seconds)
    assert deployment.slept == [POLICY.propagation_seconds]


def test_the_longest_lifetime_is_recorded_before_the_key_signs(deployment: InMemoryDeployment) -> None:
    deployment.store.deployment.set_max_ttl_seconds(7200, event=EVENT)
    assert deployment.generate().placements[0].longest_ttl_seconds == 7200


def test_a_key_becomes_active_in_every_region(deployment: InMemoryDeployment) -> None:
    record = deployment.generate(EAST, WEST)
    assert deployment.active(EAST) == deployment.active(WEST) == record.id
    assert len({pair["material"] for pair in deployment.ivs.pairs.values()}) == 1
    deployment.check_completed(EAST, WEST)


def test_a_rotation_activates_the_next_key_and_the_former_drains(deployment: InMemoryDeployment) -> None:
    former, latter = deployment.generate().id, deployment.rotate()
    assert former != latter
    assert deployment.active() == latter
    [(retiring, _)] = deployment.placements(EAST, KeyState.RETIRING)
    assert retiring.id == former
    assert len(deployment.ivs.pairs) == 2, "tokens of the former key are still accepted"
    deployment.check_completed(EAST)


def test_a_previous_key_that_an_operator_activates_again_stays_active(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    deployment.clock.advance(1)
    latter = deployment.rotate()
    deployment.clock.advance(1)
    commands.activate(deployment.context(), former, [EAST])
    deployment.reconcile(EAST)
    deployment.drain()
    deployment.reconcile(EAST)
    assert deployment.active() == former, "the request for its replacement is settled"
    deployment.clock.advance(1)
    assert deployment.rotate() not in {former, latter}, "a later request replaces it"
    deployment.check_completed(EAST)


def test_a_key_is_deleted_only_when_its_last_token_has_expired(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    deployment.rotate()
    [(_, placement)] = deployment.placements(EAST, KeyState.RETIRING)
    deployment.clock.advance(POLICY.drain_seconds(placement.longest_ttl_seconds) - 1)
    deployment.reconcile(EAST)
    assert len(deployment.ivs.pairs) == 2
    assert former in deployment.vault.key_ids()
    deployment.clock.advance(1)
    deployment.reconcile(EAST)
    assert placement.arn not in deployment.ivs.pairs
    assert former not in deployment.vault.key_ids()
    deployment.check_completed(EAST)


def test_a_higher_ttl_limit_prolongs_the_drain_of_a_key_that_may_still_sign(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    deployment.rotate()
    deployment.store.deployment.set_max_ttl_seconds(86_400, event=EVENT)
    deployment.clock.advance(POLICY.drain_seconds(3600))
    deployment.reconcile(EAST)
    assert len(deployment.ivs.pairs) == 2


def test_the_private_key_is_stored_until_all_pairs_are_deleted(deployment: InMemoryDeployment) -> None:
    former = deployment.generate(EAST, WEST).id
    deployment.rotate(EAST, WEST)
    deployment.drain()
    deployment.ivs.errors[WEST] = outage()
    deployment.reconcile(EAST, WEST)
    assert former in deployment.vault.key_ids()
    del deployment.ivs.errors[WEST]
    deployment.reconcile(EAST, WEST)
    assert former not in deployment.vault.key_ids()
    deployment.check_completed(EAST, WEST)


def test_repeated_rotations_stay_within_the_quota(deployment: InMemoryDeployment) -> None:
    for _ in range(5):
        deployment.rotate()
        deployment.drain()
        deployment.check_completed(EAST)
        assert len(deployment.ivs.pairs) <= 2


def test_rotating_too_quickly_is_rejected_with_the_pairs_in_the_slots(deployment: InMemoryDeployment) -> None:
    foreign = deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    with pytest.raises(KeyPairQuotaReached) as raised:
        deployment.rotate()
    for arn in foreign:
        assert f"{arn} (foreign)" in raised.value.message
    assert raised.value.message.count("(ours)") == 2
    deployment.check_invariants()
    deployment.drain()
    deployment.rotate()
    deployment.check_completed(EAST)
    assert foreign[0] in deployment.ivs.pairs


def test_the_error_for_a_full_region_says_when_a_slot_frees(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    [(retiring, placement)] = deployment.placements(EAST, KeyState.RETIRING)
    ends_at = drains_at(placement, deployment.policy)
    seconds = (ends_at - deployment.context().now()).total_seconds()
    for ask in (deployment.rotate, lambda: commands.generate(deployment.context(), [EAST])):
        with pytest.raises(KeyPairQuotaReached) as raised:
            ask()
        assert f"when key {retiring.id} has drained" in raised.value.message
    assert 900 < seconds < 3 * 3600
    assert f"in {seconds / 60:.0f} minutes" in raised.value.message


@pytest.mark.parametrize("standby", [False, True], ids=["active", "active and standby"])
def test_the_error_for_a_region_full_of_foreign_pairs_asks_to_free_a_slot(
    deployment: InMemoryDeployment, standby: bool
) -> None:
    """None of our keys is draining there."""
    deployment.generate()
    if standby:
        ready = commands.generate(deployment.context(), [EAST]).id
    deployment.ivs.add_foreign(EAST, 1 if standby else 2)
    with pytest.raises(KeyPairQuotaReached) as raised:
        commands.generate(deployment.context(), [EAST])
    assert "drains" not in raised.value.message
    assert "None of our keys is draining" in raised.value.message
    assert raised.value.remedy == Remedy(Action.FREE_KEY_SLOT, {"key_ids": ready if standby else "", "foreign": "true"})


def test_a_key_that_no_region_had_a_slot_for_is_used_next(deployment: InMemoryDeployment) -> None:
    signing = deployment.generate().id
    foreign = deployment.ivs.add_foreign(EAST, 2)
    for _ in range(2):
        with pytest.raises(KeyPairQuotaReached):
            deployment.generate()
    [made] = [record.id for record in deployment.store.keys.list() if record.id != signing]
    del deployment.ivs.pairs[foreign[0]]
    assert deployment.generate().id == made
    assert [record.id for record, _ in deployment.placements(EAST, KeyState.PREPARED)] == [made]


def test_in_a_full_region_no_key_is_generated_or_imported(deployment: InMemoryDeployment) -> None:
    foreign = deployment.ivs.add_foreign(EAST, 3)
    for _ in range(2):
        with pytest.raises(KeyPairQuotaReached):
            deployment.generate()
    assert not deployment.ivs.requests_of("ImportPlaybackKeyPair")
    assert not deployment.store.keys.list(), "no key is generated without a free slot"
    del deployment.ivs.pairs[foreign[0]]
    deployment.generate()
    deployment.check_completed(EAST)


def test_foreign_pairs_are_counted_and_never_changed(deployment: InMemoryDeployment) -> None:
    """Pairs without our tag, and pairs of another deployment, whatever key id they name."""
    other = {DEPLOYMENT_TAG: "another deployment", KEY_TAG: "k1"}
    foreign = deployment.ivs.add_foreign(EAST, 1, other)
    deployment.generate()
    for _ in range(3):
        deployment.drain()
        deployment.rotate()
    assert set(foreign) <= deployment.ivs.pairs.keys()
    assert not [r for r in deployment.ivs.requests_of("DeletePlaybackKeyPair") if r["arn"] in foreign]


@pytest.mark.parametrize("lost", ["before", "after"])
def test_an_import_with_a_lost_response_is_found_and_not_repeated(deployment: InMemoryDeployment, lost: Lost) -> None:
    deployment.ivs.losses["ImportPlaybackKeyPair"] = lost
    with pytest.raises(ControlPlaneUnavailable):
        deployment.generate()
    deployment.check_invariants()
    record = deployment.generate()
    assert [pair["tags"][KEY_TAG] for pair in deployment.ivs.pairs.values()] == [record.id]
    assert len(deployment.ivs.requests_of("ImportPlaybackKeyPair")) == (2 if lost == "before" else 1)
    deployment.check_completed(EAST)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_deletion_is_completed_by_the_next_run(deployment: InMemoryDeployment, lost: Lost) -> None:
    deployment.generate()
    deployment.rotate()
    deployment.drain()
    deployment.ivs.losses["DeletePlaybackKeyPair"] = lost
    deployment.rotate()
    assert any("skipped, will retry" in line for line in deployment.reports)
    deployment.drain()
    deployment.rotate()
    deployment.check_completed(EAST)


def test_a_failing_region_does_not_delay_the_others(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST, 3)
    with pytest.raises(KeyPairQuotaReached, match=EAST):
        deployment.generate(EAST, WEST)
    assert deployment.active(WEST)


def test_credentials_of_another_account_delete_nothing(deployment: InMemoryDeployment) -> None:
    """Their 404 would be taken for "deleted already"."""
    deployment.generate()
    deployment.rotate()
    deployment.drain()
    held, pairs, account = (
        deployment.placements(EAST, *ACCEPTED_STATES),
        dict(deployment.ivs.pairs),
        deployment.ivs.account,
    )
    deployment.ivs.account = "999999999999"
    [result] = deployment.reconcile(EAST)
    assert "999999999999" in "; ".join(texts(result.problems))
    assert deployment.placements(EAST, *ACCEPTED_STATES) == held
    assert deployment.ivs.pairs == pairs, "the key that was imported to find out the account is deleted again"
    deployment.ivs.account = account
    deployment.reconcile(EAST)
    assert not deployment.placements(EAST, KeyState.RETIRING)
    deployment.check_invariants()


def test_another_account_is_rejected_and_the_import_there_is_undone(deployment: InMemoryDeployment) -> None:
    deployment.store.deployment.bind_account("999999999999")
    with pytest.raises(ForeignDeployment, match="999999999999"):
        deployment.generate()
    assert not deployment.ivs.pairs
    deployment.ivs.account = "999999999999"
    deployment.generate()
    deployment.check_completed(EAST)


def test_a_prepared_key_without_its_private_key_is_never_activated(deployment: InMemoryDeployment) -> None:
    """For example because it was generated on another machine: activating it would end all signing."""
    former = deployment.generate().id
    ready = deployment.generate()
    deployment.vault.remove(ready.id)
    latter = deployment.rotate()
    assert latter not in {former, ready.id}
    assert not deployment.placements(EAST, KeyState.PREPARED)


def test_an_active_key_without_its_private_key_is_replaced(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    deployment.vault.remove(former)
    deployment.reconcile()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert deployment.active() != former


def test_a_record_without_a_private_key_is_discarded(deployment: InMemoryDeployment) -> None:
    deployment.store.keys.add("lost", "fp", b"public key", deployment.clock.at())
    deployment.clock.advance(GRACE_SECONDS + 1)
    deployment.generate()
    assert "lost" not in {record.id for record in deployment.store.keys.list()}
    deployment.check_completed(EAST)


def test_a_record_whose_private_key_is_about_to_be_stored_is_not_discarded(deployment: InMemoryDeployment) -> None:
    deployment.store.keys.add("fresh", "fp", b"public key", deployment.clock.at())
    deployment.generate()
    assert "fresh" in {record.id for record in deployment.store.keys.list()}


def test_a_key_with_another_fingerprint_is_activated_only_by_an_operator(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.fingerprint_of = lambda _key: "00:11"
    [result] = deployment.reconcile()
    [(record, placement)] = deployment.placements(EAST, KeyState.PREPARED)
    assert placement.fingerprint_differs
    [text] = [line for line in deployment.reports if "fingerprint 00:11" in line]
    assert record.fingerprint in text
    assert any(record.id in problem for problem in texts(result.problems))
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert not deployment.placements(EAST, KeyState.ACTIVE)
    commands.activate(deployment.context(), record.id, [EAST])
    assert deployment.active() == record.id


def test_no_step_reveals_a_private_key(deployment: InMemoryDeployment) -> None:
    record = deployment.generate()
    number = deployment.vault.load(record.id).private_numbers().private_value
    text = " ".join(deployment.reports)
    assert text
    assert f"{number:x}" not in text
    assert "PRIVATE" not in text


def test_an_unrecorded_import_is_found_by_a_run_for_another_region(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.losses["ImportPlaybackKeyPair"] = "after"
    with pytest.raises(ControlPlaneUnavailable):
        deployment.generate(EAST)
    for _ in range(2):
        deployment.generate(WEST)
        deployment.drain()
        deployment.rotate(WEST)
    deployment.generate(EAST, WEST)
    deployment.check_completed(EAST, WEST)
