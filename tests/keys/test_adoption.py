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
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def only(record: KeyRecord) -> KeyPlacement:
    """What a key is in the one region that it is in."""
    (there,) = record.placements
    return there


def bring(
    stage: InMemoryDeployment, *arns: str, key: PrivateKey = MINE, longest: int = 0, wire: CrashPoint | None = None
) -> KeyRecord:
    return import_key(stage.context(wire), key, (EAST,), arns, longest)


def tags(stage: InMemoryDeployment, key_id: str) -> dict[str, str]:
    return {DEPLOYMENT_TAG: stage.store.deployment.read().id, KEY_TAG: key_id}


def test_a_key_that_ivs_does_not_hold_is_imported_and_kept(stage: InMemoryDeployment) -> None:
    record = bring(stage)
    assert (only(record).state, record.fingerprint) == (KeyState.PREPARED, fingerprint(MINE.public_key()))
    assert stage.vault.key_ids() == {record.id}
    assert stage.ivs.pairs[only(record).arn]["tags"] == tags(stage, record.id)


def test_a_key_that_ivs_holds_is_found_by_its_fingerprint_and_adopted(stage: InMemoryDeployment) -> None:
    stage.ivs.add_foreign(EAST)
    arn = stage.ivs.add_pair(EAST, MINE.public_key(), {"team": "video"})
    record = bring(stage)
    assert (only(record).arn, only(record).state) == (arn, KeyState.PREPARED)
    assert stage.ivs.pairs[arn]["tags"] == tags(stage, record.id) | {"team": "video"}
    assert not stage.ivs.asked("ImportPlaybackKeyPair")[1:], "the one import was the stranger's"
    (_, imported) = stage.store.journal.history(record.id, 10)[::-1]
    assert (imported.kind, imported.outcome) == ("import", "done")
    assert arn in imported.reason


def test_each_region_adopts_or_imports_for_itself(stage: InMemoryDeployment) -> None:
    held = stage.ivs.add_pair(WEST, MINE.public_key())
    record = import_key(stage.context(), MINE, (EAST, WEST))
    east, west = sorted(record.placements, key=lambda there: there.account_region.region)
    assert west.arn == held
    assert stage.ivs.pairs[east.arn]["name"] == f"tokensvc-{record.id}"


def test_an_adopted_key_signs_like_any_other_once_it_has_led(stage: InMemoryDeployment) -> None:
    stage.ivs.add_pair(EAST, MINE.public_key())
    record = bring(stage)
    commands.reconcile_and_wait(stage.context(), (EAST,))
    assert stage.active() == record.id
    stage.check_settled(EAST)


def test_bringing_it_again_changes_nothing(stage: InMemoryDeployment) -> None:
    stage.ivs.add_pair(EAST, MINE.public_key())
    first = bring(stage)
    assert bring(stage) == first
    assert bring(stage, only(first).arn) == first
    assert len(stage.ivs.pairs) == 1


def test_tokens_that_others_minted_are_waited_for(stage: InMemoryDeployment) -> None:
    """Its pair goes only when the longest of them has ended, though the key never signed here."""
    record = bring(stage, longest=86_400)
    assert only(record).longest_ttl_seconds == 86_400
    stage.clock.advance(86_400)
    with pytest.raises(Conflict, match="may live until"):
        commands.delete(stage.context(), record.id, (EAST,))
    stage.clock.advance(POLICY.drain_seconds(0))
    commands.delete(stage.context(), record.id, (EAST,))
    assert only(record).arn not in stage.ivs.pairs


def test_a_longer_life_told_later_counts(stage: InMemoryDeployment) -> None:
    bring(stage, longest=100)
    assert only(bring(stage, longest=9000)).longest_ttl_seconds == 9000
    assert only(bring(stage)).longest_ttl_seconds == 9000


def test_a_named_pair_is_adopted_whatever_its_fingerprint_and_never_signs_by_itself(stage: InMemoryDeployment) -> None:
    arn = stage.ivs.add_pair(EAST, NOT_MINE.public_key())
    record = bring(stage, arn)
    assert (only(record).arn, only(record).fingerprint_differs) == (arn, True)
    assert any("fingerprint" in said and "activate key" in said for said in stage.reports)
    with pytest.raises(Conflict, match="another fingerprint"):
        commands.reconcile_and_wait(stage.context(), (EAST,))
    assert not stage.placements(EAST, KeyState.ACTIVE)
    commands.activate(stage.context(), record.id, (EAST,))
    assert stage.active() == record.id, "somebody looked"


@pytest.mark.parametrize("arns", [0, 1])
def test_another_deployment_s_pair_is_left_alone(stage: InMemoryDeployment, arns: int) -> None:
    theirs = {DEPLOYMENT_TAG: "another", KEY_TAG: "k9"}
    arn = stage.ivs.add_pair(EAST, MINE.public_key(), theirs)
    with pytest.raises(KeyPairNotOwned, match="another deployment"):
        bring(stage, *[arn] * arns)
    assert stage.ivs.pairs[arn]["tags"] == theirs
    assert not stage.ivs.asked("TagResource")


def test_a_pair_is_one_key_s(stage: InMemoryDeployment) -> None:
    other, mine = stage.generate(), bring(stage)
    with pytest.raises(Conflict, match=f"is key {mine.id}"):
        adopt_pairs(stage.context(), other.id, (only(mine).arn,))
    stranger = stage.ivs.add_pair(EAST, NOT_MINE.public_key())
    with pytest.raises(Conflict, match="already"):
        adopt_pairs(stage.context(), mine.id, (stranger,))
    assert stage.ivs.pairs[stranger]["tags"] == {}
    gone = stranger[:-1] + "0"
    with pytest.raises(ControlPlaneResourceMissing):
        bring(stage, gone, key=NOT_MINE)


def test_a_clash_that_no_tag_explains_asks_for_the_pair_which_is_then_adopted(stage: InMemoryDeployment) -> None:
    """Somebody took our tags off, or imported our public half by hand."""
    stage.ivs.lose["ImportPlaybackKeyPair"] = "before"
    with pytest.raises(ControlPlaneUnavailable):
        stage.generate()
    (record,) = stage.store.keys.list()
    arn = stage.ivs.add_pair(EAST, stage.vault.open(record.id).public_key())
    with pytest.raises(KeyPairAlreadyImported) as taken:
        commands.reconcile_and_wait(stage.context(), (EAST,))
    assert taken.value.remedy == Remedy(Action.ADOPT_KEY_PAIR, {"key_id": record.id, "arn": arn})
    adopt_pairs(stage.context(), record.id, (arn,))
    commands.reconcile_and_wait(stage.context(), (EAST,))
    assert stage.active() == record.id
    stage.check_settled(EAST)


def test_a_compromised_key_is_not_taken_back(stage: InMemoryDeployment) -> None:
    record = bring(stage)
    commands.compromise(stage.context(), record.id, (EAST,), include_standby=False)
    with pytest.raises(Conflict, match="compromised"):
        bring(stage)


def test_a_retired_key_does_not_come_back(stage: InMemoryDeployment) -> None:
    record = bring(stage)
    commands.delete(stage.context(), record.id, (EAST,))
    with pytest.raises(Conflict, match="never signs there again"):
        bring(stage)


def test_a_look_that_records_nothing_tells_what_is_not_recorded(stage: InMemoryDeployment) -> None:
    other = stage.store.keys.add("k77", "f", b"another", stage.clock.at())
    stage.ivs.add_pair(EAST, NOT_MINE.public_key(), tags(stage, other.id))
    seen = take_inventory(stage.context(), EAST)
    assert any("not recorded yet" in finding for finding in texts(seen.problems))
    assert require_key(stage.store.keys.list(), other.id).placements == ()


@pytest.mark.parametrize("operation", ["GetPlaybackKeyPair", "TagResource"])
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("same", [True, False])
def test_an_adoption_whose_answer_is_lost_is_taken_up(
    stage: InMemoryDeployment, operation: str, private_key_lost: Lost, same: bool
) -> None:
    arn = stage.ivs.add_pair(EAST, (MINE if same else NOT_MINE).public_key())
    stage.ivs.lose[operation] = private_key_lost
    with pytest.raises(ControlPlaneUnavailable):
        bring(stage, arn)
    record = bring(stage, arn)
    assert (only(record).arn, only(record).fingerprint_differs) == (arn, not same)
    assert len(stage.ivs.pairs) == 1


@pytest.mark.parametrize("same", [True, False])
def test_killed_at_any_step_the_next_run_ends_in_the_same_state(migrated: Path, tmp_path: Path, same: bool) -> None:
    """The command is run again, after whoever performs has looked; nothing is imported twice, and what is known of
    tokens minted elsewhere is not lost."""
    crashes = 0
    for at in itertools.count():
        stage = InMemoryDeployment(migrated, tmp_path / f"keys{at}")
        arn = stage.ivs.add_pair(EAST, (MINE if same else NOT_MINE).public_key())
        try:
            bring(stage, arn, longest=9000, wire=CrashPoint(at))
        except Crash:
            crashes += 1
        else:
            break
        for _, there in stage.placements(EAST, KeyState.PREPARED):
            assert there.longest_ttl_seconds == 9000
        sync_inventory(stage.context(), EAST)
        record = bring(stage, arn, longest=9000)
        assert only(record)[:4] == (record.id, only(record).account_region, KeyState.PREPARED, arn)
        assert (only(record).longest_ttl_seconds, only(record).fingerprint_differs) == (9000, not same)
        assert stage.ivs.pairs[arn]["tags"] == tags(stage, record.id)
        assert stage.vault.key_ids() == {record.id}
        assert len(stage.ivs.pairs) == 1
        stage.store.close()
    assert crashes >= 8, "every step was tried"
