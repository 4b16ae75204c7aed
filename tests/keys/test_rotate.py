"""The life of our keys, performed on a real store and vault and a simulated IVS."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.simulated_ivs import Lost, outage
from tokensvc.errors import Action, ControlPlaneUnavailable, ForeignDeployment, KeyPairQuotaReached, Remedy
from tokensvc.jose import keypair
from tokensvc.keys import commands
from tokensvc.keys.inventory import DEPLOYMENT_TAG, GRACE_SECONDS, KEY_TAG
from tokensvc.keys.lifecycle import ACCEPTED_STATES, KeyState, drains_at


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_generate_makes_a_key_that_ivs_holds_and_the_vault_keeps(deployment: InMemoryDeployment) -> None:
    record = deployment.generate()
    [pair] = deployment.ivs.pairs.values()
    private_key = deployment.vault.load(record.id)
    assert pair["material"] == keypair.public_pem(private_key.public_key())
    assert pair["tags"] == {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: record.id}
    assert pair["fingerprint"] == record.fingerprint
    assert record.placements[0].arn == pair["arn"]
    assert deployment.active() == record.id
    assert deployment.store.deployment.read().account == deployment.ivs.account
    deployment.check_settled(EAST)


def test_a_key_is_held_for_the_lead_before_it_signs(deployment: InMemoryDeployment) -> None:
    record = deployment.generate()
    placement = record.placements[0]
    assert placement.activated_at is not None
    assert placement.activated_at - placement.imported_at == timedelta(seconds=POLICY.propagation_seconds)
    assert deployment.slept == [POLICY.propagation_seconds]


def test_the_longest_life_is_recorded_before_the_key_signs(deployment: InMemoryDeployment) -> None:
    deployment.store.deployment.set_max_ttl_seconds(7200)
    assert deployment.generate().placements[0].longest_ttl_seconds == 7200


def test_a_key_works_in_every_region_at_once(deployment: InMemoryDeployment) -> None:
    record = deployment.generate(EAST, WEST)
    assert deployment.active(EAST) == deployment.active(WEST) == record.id
    assert len({pair["material"] for pair in deployment.ivs.pairs.values()}) == 1
    deployment.check_settled(EAST, WEST)


def test_rotation_puts_the_next_key_to_work_and_lets_the_former_drain(deployment: InMemoryDeployment) -> None:
    former, latter = deployment.generate().id, deployment.rotate()
    assert former != latter
    assert deployment.active() == latter
    [(retiring, _)] = deployment.placements(EAST, KeyState.RETIRING)
    assert retiring.id == former
    assert len(deployment.ivs.pairs) == 2, "the former's tokens are still admitted"
    deployment.check_settled(EAST)


def test_a_key_is_deleted_only_when_its_last_token_has_ended(deployment: InMemoryDeployment) -> None:
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
    deployment.check_settled(EAST)


def test_a_looser_ceiling_prolongs_the_drain_of_a_key_that_still_may_sign(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    deployment.rotate()
    deployment.store.deployment.set_max_ttl_seconds(86_400)
    deployment.clock.advance(POLICY.drain_seconds(3600))
    deployment.reconcile(EAST)
    assert len(deployment.ivs.pairs) == 2


def test_the_private_half_stays_until_the_key_is_gone_everywhere(deployment: InMemoryDeployment) -> None:
    former = deployment.generate(EAST, WEST).id
    deployment.rotate(EAST, WEST)
    deployment.drain()
    deployment.ivs.refuse[WEST] = outage()
    deployment.reconcile(EAST, WEST)
    assert former in deployment.vault.key_ids()
    del deployment.ivs.refuse[WEST]
    deployment.reconcile(EAST, WEST)
    assert former not in deployment.vault.key_ids()
    deployment.check_settled(EAST, WEST)


def test_rotating_again_and_again_stays_within_the_quota(deployment: InMemoryDeployment) -> None:
    for _ in range(5):
        deployment.rotate()
        deployment.drain()
        deployment.check_settled(EAST)
        assert len(deployment.ivs.pairs) <= 2


def test_rotating_too_quickly_is_refused_and_lists_what_fills_the_slots(deployment: InMemoryDeployment) -> None:
    foreign = deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    with pytest.raises(KeyPairQuotaReached) as raised:
        deployment.rotate()
    for arn in foreign:
        assert f"{arn} (foreign)" in raised.value.message
    assert raised.value.message.count("(ours)") == 2
    deployment.check_always()
    deployment.drain()
    deployment.rotate()
    deployment.check_settled(EAST)
    assert foreign[0] in deployment.ivs.pairs


def test_a_full_region_says_when_a_pair_of_ours_makes_room(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    [(retiring, placement)] = deployment.placements(EAST, KeyState.RETIRING)
    ends_at = drains_at(placement, deployment.policy)
    seconds = (ends_at - deployment.context().now()).total_seconds()
    for ask in (deployment.rotate, lambda: commands.generate(deployment.context(), [EAST])):
        with pytest.raises(KeyPairQuotaReached) as raised:
            ask()
        assert f"Key {retiring.id} drains until {ends_at:%Y-%m-%dT%H:%M:%SZ}, in " in raised.value.message
    assert 900 < seconds < 3 * 3600
    assert f"in {seconds / 60:.0f} minutes" in raised.value.message


@pytest.mark.parametrize("standby", [False, True], ids=["signing", "signing and standing by"])
def test_a_region_that_others_fill_is_said_to_need_a_hand(deployment: InMemoryDeployment, standby: bool) -> None:
    """Nothing of ours is on its way out there."""
    deployment.generate()
    if standby:
        ready = commands.generate(deployment.context(), [EAST]).id
    deployment.ivs.add_foreign(EAST, 1 if standby else 2)
    with pytest.raises(KeyPairQuotaReached) as raised:
        commands.generate(deployment.context(), [EAST])
    assert "drains" not in raised.value.message
    assert "No pair of ours is on its way out" in raised.value.message
    assert raised.value.remedy == Remedy(Action.FREE_KEY_SLOT, {"key_ids": ready if standby else "", "foreign": "true"})


def test_a_key_that_no_region_had_room_for_is_taken_when_another_is_asked_for(deployment: InMemoryDeployment) -> None:
    signing = deployment.generate().id
    foreign = deployment.ivs.add_foreign(EAST, 2)
    for _ in range(2):
        with pytest.raises(KeyPairQuotaReached):
            deployment.generate()
    [made] = [record.id for record in deployment.store.keys.list() if record.id != signing]
    del deployment.ivs.pairs[foreign[0]]
    assert deployment.generate().id == made
    assert [record.id for record, _ in deployment.placements(EAST, KeyState.PREPARED)] == [made]


def test_in_a_full_region_nothing_is_made_or_imported(deployment: InMemoryDeployment) -> None:
    foreign = deployment.ivs.add_foreign(EAST, 3)
    for _ in range(2):
        with pytest.raises(KeyPairQuotaReached):
            deployment.generate()
    assert not deployment.ivs.asked("ImportPlaybackKeyPair")
    assert not deployment.store.keys.list(), "a key that could go nowhere is not made"
    del deployment.ivs.pairs[foreign[0]]
    deployment.generate()
    deployment.check_settled(EAST)


def test_what_others_imported_is_counted_and_never_touched(deployment: InMemoryDeployment) -> None:
    """Pairs without our tag, and pairs of another deployment, whatever key id they name."""
    other = {DEPLOYMENT_TAG: "another deployment", KEY_TAG: "k1"}
    foreign = deployment.ivs.add_foreign(EAST, 1, other)
    deployment.generate()
    for _ in range(3):
        deployment.drain()
        deployment.rotate()
    assert set(foreign) <= deployment.ivs.pairs.keys()
    assert not [r for r in deployment.ivs.asked("DeletePlaybackKeyPair") if r["arn"] in foreign]


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_import_is_found_again_and_not_repeated(deployment: InMemoryDeployment, lost: Lost) -> None:
    deployment.ivs.lose["ImportPlaybackKeyPair"] = lost
    with pytest.raises(ControlPlaneUnavailable):
        deployment.generate()
    deployment.check_always()
    record = deployment.generate()
    assert [pair["tags"][KEY_TAG] for pair in deployment.ivs.pairs.values()] == [record.id]
    assert len(deployment.ivs.asked("ImportPlaybackKeyPair")) == (2 if lost == "before" else 1)
    deployment.check_settled(EAST)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_deletion_is_made_good_by_the_next_run(deployment: InMemoryDeployment, lost: Lost) -> None:
    deployment.generate()
    deployment.rotate()
    deployment.drain()
    deployment.ivs.lose["DeletePlaybackKeyPair"] = lost
    deployment.rotate()
    assert any("skipped, will retry" in line for line in deployment.reports)
    deployment.drain()
    deployment.rotate()
    deployment.check_settled(EAST)


def test_a_region_that_fails_delays_only_itself(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST, 3)
    with pytest.raises(KeyPairQuotaReached, match=EAST):
        deployment.generate(EAST, WEST)
    assert deployment.active(WEST)


def test_credentials_of_another_account_delete_nothing(deployment: InMemoryDeployment) -> None:
    """There a 404 would mean: deleted already."""
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
    assert deployment.ivs.pairs == pairs, "what was imported there, to see whose account it is, is gone again"
    deployment.ivs.account = account
    deployment.reconcile(EAST)
    assert not deployment.placements(EAST, KeyState.RETIRING)
    deployment.check_always()


def test_another_account_is_refused_and_what_was_imported_there_is_removed(deployment: InMemoryDeployment) -> None:
    deployment.store.deployment.bind_account("999999999999")
    with pytest.raises(ForeignDeployment, match="999999999999"):
        deployment.generate()
    assert not deployment.ivs.pairs
    deployment.ivs.account = "999999999999"
    deployment.generate()
    deployment.check_settled(EAST)


def test_a_prepared_key_whose_private_half_is_lost_is_never_put_to_work(deployment: InMemoryDeployment) -> None:
    """As when it was made on another machine: activating it would end all signing."""
    former = deployment.generate().id
    ready = deployment.generate()
    deployment.vault.remove(ready.id)
    latter = deployment.rotate()
    assert latter not in {former, ready.id}
    assert not deployment.placements(EAST, KeyState.PREPARED)


def test_a_key_that_signs_and_whose_private_half_is_lost_is_followed_by_another(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    deployment.vault.remove(former)
    deployment.reconcile()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert deployment.active() != former


def test_a_record_whose_private_half_never_was_is_forgotten(deployment: InMemoryDeployment) -> None:
    deployment.store.keys.add("lost", "fp", b"public half", deployment.clock.at())
    deployment.clock.advance(GRACE_SECONDS + 1)
    deployment.generate()
    assert "lost" not in {record.id for record in deployment.store.keys.list()}
    deployment.check_settled(EAST)


def test_a_record_that_another_run_is_about_to_keep_is_left_alone(deployment: InMemoryDeployment) -> None:
    deployment.store.keys.add("fresh", "fp", b"public half", deployment.clock.at())
    deployment.generate()
    assert "fresh" in {record.id for record in deployment.store.keys.list()}


def test_a_fingerprint_that_differs_is_reported_and_the_key_put_to_work_by_an_operator_alone(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.fingerprint_of = lambda _key: "00:11"
    [result] = deployment.reconcile()
    [(record, placement)] = deployment.placements(EAST, KeyState.PREPARED)
    assert placement.fingerprint_differs
    [text] = [line for line in deployment.reports if "fingerprint 00:11" in line]
    assert record.fingerprint in text
    assert any(record.id in finding for finding in texts(result.problems))
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert not deployment.placements(EAST, KeyState.ACTIVE)
    commands.activate(deployment.context(), record.id, [EAST])
    assert deployment.active() == record.id


def test_no_step_tells_a_private_key(deployment: InMemoryDeployment) -> None:
    record = deployment.generate()
    number = deployment.vault.load(record.id).private_numbers().private_value
    text = " ".join(deployment.reports)
    assert text
    assert f"{number:x}" not in text
    assert "PRIVATE" not in text


def test_an_import_that_was_not_recorded_is_found_although_the_next_run_names_another_region(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.lose["ImportPlaybackKeyPair"] = "after"
    with pytest.raises(ControlPlaneUnavailable):
        deployment.generate(EAST)
    for _ in range(2):
        deployment.generate(WEST)
        deployment.drain()
        deployment.rotate(WEST)
    deployment.generate(EAST, WEST)
    deployment.check_settled(EAST, WEST)
