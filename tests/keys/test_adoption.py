"""Keys that people bring: a key that IVS holds already is adopted, never imported a second time."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.support.crashes import Crash, CrashPoint
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.simulated_ivs import Lost
from tokensvc.errors import (
    Action,
    Conflict,
    ControlPlaneResourceMissing,
    ControlPlaneUnavailable,
    KeyPairAlreadyImported,
    KeyPairNotOwned,
    Remedy,
)
from tokensvc.jose.keypair import PrivateKey, fingerprint, generate
from tokensvc.keys import commands
from tokensvc.keys.importing import adopt_pairs, import_key
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG, sync_inventory, take_inventory
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, require_key

MINE = generate()
NOT_MINE = generate()


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def only(record: KeyRecord) -> KeyPlacement:
    """What a key is in the one region that it is in."""
    (placement,) = record.placements
    return placement


def bring(
    deployment: InMemoryDeployment, *arns: str, key: PrivateKey = MINE, longest: int = 0, wire: CrashPoint | None = None
) -> KeyRecord:
    return import_key(deployment.context(wire), key, (EAST,), arns, longest)


def tags(deployment: InMemoryDeployment, key_id: str) -> dict[str, str]:
    return {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: key_id}


def test_a_key_that_ivs_does_not_hold_is_imported_and_kept(deployment: InMemoryDeployment) -> None:
    record = bring(deployment)
    assert (only(record).state, record.fingerprint) == (KeyState.PREPARED, fingerprint(MINE.public_key()))
    assert deployment.vault.key_ids() == {record.id}
    assert deployment.ivs.pairs[only(record).arn]["tags"] == tags(deployment, record.id)


def test_a_key_that_ivs_holds_is_found_by_its_fingerprint_and_adopted(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST)
    arn = deployment.ivs.add_pair(EAST, MINE.public_key(), {"team": "video"})
    record = bring(deployment)
    assert (only(record).arn, only(record).state) == (arn, KeyState.PREPARED)
    assert deployment.ivs.pairs[arn]["tags"] == tags(deployment, record.id) | {"team": "video"}
    assert not deployment.ivs.asked("ImportPlaybackKeyPair")[1:], "the one import was the stranger's"
    (_, imported) = deployment.store.journal.history(record.id, 10)[::-1]
    assert (imported.kind, imported.outcome) == ("import", "done")
    assert arn in imported.reason


def test_each_region_adopts_or_imports_for_itself(deployment: InMemoryDeployment) -> None:
    held = deployment.ivs.add_pair(WEST, MINE.public_key())
    record = import_key(deployment.context(), MINE, (EAST, WEST))
    east, west = sorted(record.placements, key=lambda placement: placement.account_region.region)
    assert west.arn == held
    assert deployment.ivs.pairs[east.arn]["name"] == f"tokensvc-{record.id}"


def test_an_adopted_key_signs_like_any_other_once_it_has_led(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_pair(EAST, MINE.public_key())
    record = bring(deployment)
    commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert deployment.active() == record.id
    deployment.check_settled(EAST)


def test_bringing_it_again_changes_nothing(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_pair(EAST, MINE.public_key())
    first = bring(deployment)
    assert bring(deployment) == first
    assert bring(deployment, only(first).arn) == first
    assert len(deployment.ivs.pairs) == 1


def test_tokens_that_others_minted_are_waited_for(deployment: InMemoryDeployment) -> None:
    """Its pair goes only when the longest of them has ended, though the key never signed here."""
    record = bring(deployment, longest=86_400)
    assert only(record).longest_ttl_seconds == 86_400
    deployment.clock.advance(86_400)
    with pytest.raises(Conflict, match="may be valid in us-east-1 until"):
        commands.delete(deployment.context(), record.id, (EAST,))
    deployment.clock.advance(POLICY.drain_seconds(0))
    commands.delete(deployment.context(), record.id, (EAST,))
    assert only(record).arn not in deployment.ivs.pairs


def test_a_longer_life_told_later_counts(deployment: InMemoryDeployment) -> None:
    bring(deployment, longest=100)
    assert only(bring(deployment, longest=9000)).longest_ttl_seconds == 9000
    assert only(bring(deployment)).longest_ttl_seconds == 9000


def test_a_named_pair_is_adopted_whatever_its_fingerprint_and_never_signs_by_itself(
    deployment: InMemoryDeployment,
) -> None:
    arn = deployment.ivs.add_pair(EAST, NOT_MINE.public_key())
    record = bring(deployment, arn)
    assert (only(record).arn, only(record).fingerprint_differs) == (arn, True)
    assert any("fingerprint" in text and "then activate it" in text for text in deployment.reports)
    with pytest.raises(Conflict, match="a different fingerprint"):
        commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert not deployment.placements(EAST, KeyState.ACTIVE)
    commands.activate(deployment.context(), record.id, (EAST,))
    assert deployment.active() == record.id, "somebody looked"


@pytest.mark.parametrize("arns", [0, 1])
def test_another_deployment_s_pair_is_left_alone(deployment: InMemoryDeployment, arns: int) -> None:
    theirs = {DEPLOYMENT_TAG: "another", KEY_TAG: "k9"}
    arn = deployment.ivs.add_pair(EAST, MINE.public_key(), theirs)
    with pytest.raises(KeyPairNotOwned, match="another deployment"):
        bring(deployment, *[arn] * arns)
    assert deployment.ivs.pairs[arn]["tags"] == theirs
    assert not deployment.ivs.asked("TagResource")


def test_a_pair_is_one_key_s(deployment: InMemoryDeployment) -> None:
    other, mine = deployment.generate(), bring(deployment)
    with pytest.raises(Conflict, match=f"is recorded as key {mine.id}"):
        adopt_pairs(deployment.context(), other.id, (only(mine).arn,))
    stranger = deployment.ivs.add_pair(EAST, NOT_MINE.public_key())
    with pytest.raises(Conflict, match="already"):
        adopt_pairs(deployment.context(), mine.id, (stranger,))
    assert deployment.ivs.pairs[stranger]["tags"] == {}
    gone = stranger[:-1] + "0"
    with pytest.raises(ControlPlaneResourceMissing):
        bring(deployment, gone, key=NOT_MINE)


def test_a_clash_that_no_tag_explains_asks_for_the_pair_which_is_then_adopted(deployment: InMemoryDeployment) -> None:
    """Somebody took our tags off, or imported our public half by hand."""
    deployment.ivs.lose["ImportPlaybackKeyPair"] = "before"
    with pytest.raises(ControlPlaneUnavailable):
        deployment.generate()
    (record,) = deployment.store.keys.list()
    arn = deployment.ivs.add_pair(EAST, deployment.vault.open(record.id).public_key())
    with pytest.raises(KeyPairAlreadyImported) as taken:
        commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert taken.value.remedy == Remedy(Action.ADOPT_KEY_PAIR, {"key_id": record.id, "arn": arn})
    adopt_pairs(deployment.context(), record.id, (arn,))
    commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert deployment.active() == record.id
    deployment.check_settled(EAST)


def test_a_compromised_key_is_not_taken_back(deployment: InMemoryDeployment) -> None:
    record = bring(deployment)
    commands.compromise(deployment.context(), record.id, (EAST,), include_standby=False)
    with pytest.raises(Conflict, match="compromised"):
        bring(deployment)


def test_a_retired_key_does_not_come_back(deployment: InMemoryDeployment) -> None:
    record = bring(deployment)
    commands.delete(deployment.context(), record.id, (EAST,))
    with pytest.raises(Conflict, match="cannot be used there again"):
        bring(deployment)


def test_a_look_that_records_nothing_tells_what_is_not_recorded(deployment: InMemoryDeployment) -> None:
    other = deployment.store.keys.add("k77", "f", b"another", deployment.clock.at())
    deployment.ivs.add_pair(EAST, NOT_MINE.public_key(), tags(deployment, other.id))
    inventory = take_inventory(deployment.context(), EAST)
    assert any("not recorded yet" in finding for finding in texts(inventory.problems))
    assert require_key(deployment.store.keys.list(), other.id).placements == ()


@pytest.mark.parametrize("operation", ["GetPlaybackKeyPair", "TagResource"])
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("same", [True, False])
def test_an_adoption_whose_answer_is_lost_is_taken_up(
    deployment: InMemoryDeployment, operation: str, lost: Lost, same: bool
) -> None:
    arn = deployment.ivs.add_pair(EAST, (MINE if same else NOT_MINE).public_key())
    deployment.ivs.lose[operation] = lost
    with pytest.raises(ControlPlaneUnavailable):
        bring(deployment, arn)
    record = bring(deployment, arn)
    assert (only(record).arn, only(record).fingerprint_differs) == (arn, not same)
    assert len(deployment.ivs.pairs) == 1


@pytest.mark.parametrize("same", [True, False])
def test_killed_at_any_step_the_next_run_ends_in_the_same_state(migrated: Path, tmp_path: Path, same: bool) -> None:
    """The command is run again, after whoever performs has looked; nothing is imported twice, and what is known of
    tokens minted elsewhere is not lost."""
    crashes = 0
    for at in itertools.count():
        deployment = InMemoryDeployment(migrated, tmp_path / f"keys{at}")
        arn = deployment.ivs.add_pair(EAST, (MINE if same else NOT_MINE).public_key())
        try:
            bring(deployment, arn, longest=9000, wire=CrashPoint(at))
        except Crash:
            crashes += 1
        else:
            break
        for _, placement in deployment.placements(EAST, KeyState.PREPARED):
            assert placement.longest_ttl_seconds == 9000
        sync_inventory(deployment.context(), EAST)
        record = bring(deployment, arn, longest=9000)
        assert only(record)[:4] == (record.id, only(record).account_region, KeyState.PREPARED, arn)
        assert (only(record).longest_ttl_seconds, only(record).fingerprint_differs) == (9000, not same)
        assert deployment.ivs.pairs[arn]["tags"] == tags(deployment, record.id)
        assert deployment.vault.key_ids() == {record.id}
        assert len(deployment.ivs.pairs) == 1
        deployment.store.close()
    assert crashes >= 8, "every step was tried"
