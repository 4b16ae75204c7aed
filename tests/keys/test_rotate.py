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
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_generate_makes_a_key_that_ivs_holds_and_the_vault_keeps(stage: InMemoryDeployment) -> None:
    record = stage.generate()
    [pair] = stage.ivs.pairs.values()
    private_key = stage.vault.open(record.id)
    assert pair["material"] == keypair.public_pem(private_key.public_key())
    assert pair["tags"] == {DEPLOYMENT_TAG: stage.store.deployment.read().id, KEY_TAG: record.id}
    assert pair["fingerprint"] == record.fingerprint
    assert record.placements[0].arn == pair["arn"]
    assert stage.active() == record.id
    assert stage.store.deployment.read().account == stage.ivs.account
    stage.check_settled(EAST)


def test_a_key_is_held_for_the_lead_before_it_signs(stage: InMemoryDeployment) -> None:
    record = stage.generate()
    there = record.placements[0]
    assert there.activated_at is not None
    assert there.activated_at - there.imported_at == timedelta(seconds=POLICY.propagation_seconds)
    assert stage.slept == [POLICY.propagation_seconds]


def test_the_longest_life_is_recorded_before_the_key_signs(stage: InMemoryDeployment) -> None:
    stage.store.deployment.set_max_ttl_seconds(7200)
    assert stage.generate().placements[0].longest_ttl_seconds == 7200


def test_a_key_works_in_every_region_at_once(stage: InMemoryDeployment) -> None:
    record = stage.generate(EAST, WEST)
    assert stage.active(EAST) == stage.active(WEST) == record.id
    assert len({pair["material"] for pair in stage.ivs.pairs.values()}) == 1
    stage.check_settled(EAST, WEST)


def test_rotation_puts_the_next_key_to_work_and_lets_the_former_drain(stage: InMemoryDeployment) -> None:
    former, latter = stage.generate().id, stage.rotate()
    assert former != latter
    assert stage.active() == latter
    [(retiring, _)] = stage.placements(EAST, KeyState.RETIRING)
    assert retiring.id == former
    assert len(stage.ivs.pairs) == 2, "the former's tokens are still admitted"
    stage.check_settled(EAST)


def test_a_key_is_deleted_only_when_its_last_token_has_ended(stage: InMemoryDeployment) -> None:
    former = stage.generate().id
    stage.rotate()
    [(_, there)] = stage.placements(EAST, KeyState.RETIRING)
    stage.clock.advance(POLICY.drain_seconds(there.longest_ttl_seconds) - 1)
    stage.reconcile(EAST)
    assert len(stage.ivs.pairs) == 2
    assert former in stage.vault.key_ids()
    stage.clock.advance(1)
    stage.reconcile(EAST)
    assert there.arn not in stage.ivs.pairs
    assert former not in stage.vault.key_ids()
    stage.check_settled(EAST)


def test_a_looser_ceiling_prolongs_the_drain_of_a_key_that_still_may_sign(stage: InMemoryDeployment) -> None:
    stage.generate()
    stage.rotate()
    stage.store.deployment.set_max_ttl_seconds(86_400)
    stage.clock.advance(POLICY.drain_seconds(3600))
    stage.reconcile(EAST)
    assert len(stage.ivs.pairs) == 2


def test_the_private_half_stays_until_the_key_is_gone_everywhere(stage: InMemoryDeployment) -> None:
    former = stage.generate(EAST, WEST).id
    stage.rotate(EAST, WEST)
    stage.drain()
    stage.ivs.refuse[WEST] = outage()
    stage.reconcile(EAST, WEST)
    assert former in stage.vault.key_ids()
    del stage.ivs.refuse[WEST]
    stage.reconcile(EAST, WEST)
    assert former not in stage.vault.key_ids()
    stage.check_settled(EAST, WEST)


def test_rotating_again_and_again_stays_within_the_quota(stage: InMemoryDeployment) -> None:
    for _ in range(5):
        stage.rotate()
        stage.drain()
        stage.check_settled(EAST)
        assert len(stage.ivs.pairs) <= 2


def test_rotating_too_quickly_is_refused_and_lists_what_fills_the_slots(stage: InMemoryDeployment) -> None:
    foreign = stage.ivs.add_foreign(EAST)
    stage.generate()
    stage.rotate()
    with pytest.raises(KeyPairQuotaReached) as refused:
        stage.rotate()
    for arn in foreign:
        assert f"{arn} (foreign)" in refused.value.message
    assert refused.value.message.count("(ours)") == 2
    stage.check_always()
    stage.drain()
    stage.rotate()
    stage.check_settled(EAST)
    assert foreign[0] in stage.ivs.pairs


def test_a_full_region_says_when_a_pair_of_ours_makes_room(stage: InMemoryDeployment) -> None:
    stage.ivs.add_foreign(EAST)
    stage.generate()
    stage.rotate()
    [(retiring, there)] = stage.placements(EAST, KeyState.RETIRING)
    ends_at = drains_at(there, stage.policy)
    seconds = (ends_at - stage.context().now()).total_seconds()
    for ask in (stage.rotate, lambda: commands.generate(stage.context(), [EAST])):
        with pytest.raises(KeyPairQuotaReached) as refused:
            ask()
        assert f"Key {retiring.id} drains until {ends_at:%Y-%m-%dT%H:%M:%SZ}, in " in refused.value.message
    assert 900 < seconds < 3 * 3600
    assert f"in {seconds / 60:.0f} minutes" in refused.value.message


@pytest.mark.parametrize("standby", [False, True], ids=["signing", "signing and standing by"])
def test_a_region_that_others_fill_is_said_to_need_a_hand(stage: InMemoryDeployment, standby: bool) -> None:
    """Nothing of ours is on its way out there."""
    stage.generate()
    if standby:
        ready = commands.generate(stage.context(), [EAST]).id
    stage.ivs.add_foreign(EAST, 1 if standby else 2)
    with pytest.raises(KeyPairQuotaReached) as refused:
        commands.generate(stage.context(), [EAST])
    assert "drains" not in refused.value.message
    assert "No pair of ours is on its way out" in refused.value.message
    assert refused.value.remedy == Remedy(
        Action.FREE_KEY_SLOT, {"key_ids": ready if standby else "", "foreign": "true"}
    )


def test_a_key_that_no_region_had_room_for_is_taken_when_another_is_asked_for(stage: InMemoryDeployment) -> None:
    signing = stage.generate().id
    foreign = stage.ivs.add_foreign(EAST, 2)
    for _ in range(2):
        with pytest.raises(KeyPairQuotaReached):
            stage.generate()
    [made] = [record.id for record in stage.store.keys.list() if record.id != signing]
    del stage.ivs.pairs[foreign[0]]
    assert stage.generate().id == made
    assert [record.id for record, _ in stage.placements(EAST, KeyState.PREPARED)] == [made]


def test_in_a_full_region_nothing_is_made_or_imported(stage: InMemoryDeployment) -> None:
    foreign = stage.ivs.add_foreign(EAST, 3)
    for _ in range(2):
        with pytest.raises(KeyPairQuotaReached):
            stage.generate()
    assert not stage.ivs.asked("ImportPlaybackKeyPair")
    assert not stage.store.keys.list(), "a key that could go nowhere is not made"
    del stage.ivs.pairs[foreign[0]]
    stage.generate()
    stage.check_settled(EAST)


def test_what_others_imported_is_counted_and_never_touched(stage: InMemoryDeployment) -> None:
    """Pairs without our tag, and pairs of another deployment, whatever key id they name."""
    other = {DEPLOYMENT_TAG: "another deployment", KEY_TAG: "k1"}
    foreign = stage.ivs.add_foreign(EAST, 1, other)
    stage.generate()
    for _ in range(3):
        stage.drain()
        stage.rotate()
    assert set(foreign) <= stage.ivs.pairs.keys()
    assert not [r for r in stage.ivs.asked("DeletePlaybackKeyPair") if r["arn"] in foreign]


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_import_is_found_again_and_not_repeated(stage: InMemoryDeployment, private_key_lost: Lost) -> None:
    stage.ivs.lose["ImportPlaybackKeyPair"] = private_key_lost
    with pytest.raises(ControlPlaneUnavailable):
        stage.generate()
    stage.check_always()
    record = stage.generate()
    assert [pair["tags"][KEY_TAG] for pair in stage.ivs.pairs.values()] == [record.id]
    assert len(stage.ivs.asked("ImportPlaybackKeyPair")) == (2 if private_key_lost == "before" else 1)
    stage.check_settled(EAST)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_lost_deletion_is_made_good_by_the_next_run(stage: InMemoryDeployment, private_key_lost: Lost) -> None:
    stage.generate()
    stage.rotate()
    stage.drain()
    stage.ivs.lose["DeletePlaybackKeyPair"] = private_key_lost
    stage.rotate()
    assert any("is left as it is for now" in line for line in stage.reports)
    stage.drain()
    stage.rotate()
    stage.check_settled(EAST)


def test_a_region_that_fails_delays_only_itself(stage: InMemoryDeployment) -> None:
    stage.ivs.add_foreign(EAST, 3)
    with pytest.raises(KeyPairQuotaReached, match=EAST):
        stage.generate(EAST, WEST)
    assert stage.active(WEST)


def test_credentials_of_another_account_delete_nothing(stage: InMemoryDeployment) -> None:
    """There a 404 would mean: deleted already."""
    stage.generate()
    stage.rotate()
    stage.drain()
    held, pairs, account = stage.placements(EAST, *ACCEPTED_STATES), dict(stage.ivs.pairs), stage.ivs.account
    stage.ivs.account = "999999999999"
    [outlook] = stage.reconcile(EAST)
    assert "999999999999" in "; ".join(texts(outlook.problems))
    assert stage.placements(EAST, *ACCEPTED_STATES) == held
    assert stage.ivs.pairs == pairs, "what was imported there, to see whose account it is, is gone again"
    stage.ivs.account = account
    stage.reconcile(EAST)
    assert not stage.placements(EAST, KeyState.RETIRING)
    stage.check_always()


def test_another_account_is_refused_and_what_was_imported_there_is_removed(stage: InMemoryDeployment) -> None:
    stage.store.deployment.bind_account("999999999999")
    with pytest.raises(ForeignDeployment, match="999999999999"):
        stage.generate()
    assert not stage.ivs.pairs
    stage.ivs.account = "999999999999"
    stage.generate()
    stage.check_settled(EAST)


def test_a_prepared_key_whose_private_half_is_lost_is_never_put_to_work(stage: InMemoryDeployment) -> None:
    """As when it was made on another machine: activating it would end all signing."""
    former = stage.generate().id
    ready = stage.generate()
    stage.vault.remove(ready.id)
    latter = stage.rotate()
    assert latter not in {former, ready.id}
    assert not stage.placements(EAST, KeyState.PREPARED)


def test_a_key_that_signs_and_whose_private_half_is_lost_is_followed_by_another(stage: InMemoryDeployment) -> None:
    former = stage.generate().id
    stage.vault.remove(former)
    stage.reconcile()
    stage.clock.advance(POLICY.propagation_seconds)
    stage.reconcile()
    assert stage.active() != former


def test_a_record_whose_private_half_never_was_is_forgotten(stage: InMemoryDeployment) -> None:
    stage.store.keys.add("lost", "fp", b"public half", stage.clock.at())
    stage.clock.advance(GRACE_SECONDS + 1)
    stage.generate()
    assert "lost" not in {record.id for record in stage.store.keys.list()}
    stage.check_settled(EAST)


def test_a_record_that_another_run_is_about_to_keep_is_left_alone(stage: InMemoryDeployment) -> None:
    stage.store.keys.add("fresh", "fp", b"public half", stage.clock.at())
    stage.generate()
    assert "fresh" in {record.id for record in stage.store.keys.list()}


def test_a_fingerprint_that_differs_is_reported_and_the_key_put_to_work_by_an_operator_alone(
    stage: InMemoryDeployment,
) -> None:
    stage.ivs.fingerprint_of = lambda _key: "00:11"
    [outlook] = stage.reconcile()
    [(record, there)] = stage.placements(EAST, KeyState.PREPARED)
    assert there.fingerprint_differs
    [told] = [line for line in stage.reports if "fingerprint 00:11" in line]
    assert record.fingerprint in told
    assert any(record.id in finding for finding in texts(outlook.problems))
    stage.clock.advance(POLICY.propagation_seconds)
    stage.reconcile()
    assert not stage.placements(EAST, KeyState.ACTIVE)
    commands.activate(stage.context(), record.id, [EAST])
    assert stage.active() == record.id


def test_no_step_tells_a_private_key(stage: InMemoryDeployment) -> None:
    record = stage.generate()
    number = stage.vault.open(record.id).private_numbers().private_value
    said = " ".join(stage.reports)
    assert said
    assert f"{number:x}" not in said
    assert "PRIVATE" not in said


def test_an_import_that_was_not_recorded_is_found_although_the_next_run_names_another_region(
    stage: InMemoryDeployment,
) -> None:
    stage.ivs.lose["ImportPlaybackKeyPair"] = "after"
    with pytest.raises(ControlPlaneUnavailable):
        stage.generate(EAST)
    for _ in range(2):
        stage.generate(WEST)
        stage.drain()
        stage.rotate(WEST)
    stage.generate(EAST, WEST)
    stage.check_settled(EAST, WEST)
