"""Import of keys from elsewhere: a key that IVS already holds is adopted, never imported twice."""

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

pytestmark = pytest.mark.slow

MINE = generate()
NOT_MINE = generate()


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def only(record: KeyRecord) -> KeyPlacement:
    """The only placement of a key."""
    (placement,) = record.placements
    return placement


def import_mine(
    deployment: InMemoryDeployment,
    *arns: str,
    key: PrivateKey = MINE,
    longest: int = 0,
    crash_point: CrashPoint | None = None,
) -> KeyRecord:
    return import_key(deployment.context(crash_point), key, (EAST,), arns, longest)


def tags(deployment: InMemoryDeployment, key_id: str) -> dict[str, str]:
    return {DEPLOYMENT_TAG: deployment.store.deployment.read().id, KEY_TAG: key_id}


def test_a_key_that_ivs_does_not_hold_is_stored_and_imported(deployment: InMemoryDeployment) -> None:
    record = import_mine(deployment)
    assert (only(record).state, record.fingerprint) == (KeyState.PREPARED, fingerprint(MINE.public_key()))
    assert deployment.vault.key_ids() == {record.id}
    assert deployment.ivs.pairs[only(record).arn]["tags"] == tags(deployment, record.id)


def test_a_key_that_ivs_holds_is_adopted_by_its_fingerprint(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST)
    arn = deployment.ivs.add_pair(EAST, MINE.public_key(), {"team": "video"})
    record = import_mine(deployment)
    assert (only(record).arn, only(record).state) == (arn, KeyState.PREPARED)
    assert deployment.ivs.pairs[arn]["tags"] == tags(deployment, record.id) | {"team": "video"}
    assert not deployment.ivs.requests_of("ImportPlaybackKeyPair")[1:], "the only import was that of the foreign pair"
    (_, imported) = deployment.store.journal.history(record.id, 10)[::-1]
    assert (imported.kind, imported.outcome) == ("import", "done")
    assert arn in imported.reason


def test_each_region_adopts_or_imports_independently(deployment: InMemoryDeployment) -> None:
    held = deployment.ivs.add_pair(WEST, MINE.public_key())
    record = import_key(deployment.context(), MINE, (EAST, WEST))
    east, west = sorted(record.placements, key=lambda placement: placement.account_region.region)
    assert west.arn == held
    assert deployment.ivs.pairs[east.arn]["name"] == f"tokensvc-{record.id}"


def test_an_adopted_key_becomes_active_after_the_propagation_delay(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_pair(EAST, MINE.public_key())
    record = import_mine(deployment)
    commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert deployment.active() == record.id
    deployment.check_completed(EAST)


def test_importing_it_again_changes_nothing(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_pair(EAST, MINE.public_key())
    first = import_mine(deployment)
    assert import_mine(deployment) == first
    assert import_mine(deployment, only(first).arn) == first
    assert len(deployment.ivs.pairs) == 1


def test_deletion_waits_for_tokens_that_other_programs_signed(deployment: InMemoryDeployment) -> None:
    """The pair is deleted only after the longest of them has expired, although the key never signed here."""
    record = import_mine(deployment, longest=86_400)
    assert only(record).longest_ttl_seconds == 86_400
    deployment.clock.advance(86_400)
    with pytest.raises(Conflict, match="may be valid in us-east-1 until"):
        commands.delete(deployment.context(), record.id, (EAST,))
    deployment.clock.advance(POLICY.drain_seconds(0))
    commands.delete(deployment.context(), record.id, (EAST,))
    assert only(record).arn not in deployment.ivs.pairs


def test_a_longer_lifetime_given_later_counts(deployment: InMemoryDeployment) -> None:
    import_mine(deployment, longest=100)
    assert only(import_mine(deployment, longest=9000)).longest_ttl_seconds == 9000
    assert only(import_mine(deployment)).longest_ttl_seconds == 9000


def test_a_named_pair_with_another_fingerprint_is_adopted_but_not_activated_automatically(
    deployment: InMemoryDeployment,
) -> None:
    arn = deployment.ivs.add_pair(EAST, NOT_MINE.public_key())
    record = import_mine(deployment, arn)
    assert (only(record).arn, only(record).fingerprint_differs) == (arn, True)
    assert any("fingerprint" in text and "then activate it" in text for text in deployment.reports)
    with pytest.raises(Conflict, match="a different fingerprint"):
        commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert not deployment.placements(EAST, KeyState.ACTIVE)
    commands.activate(deployment.context(), record.id, (EAST,))
    assert deployment.active() == record.id, "an operator has checked it"


@pytest.mark.parametrize("arns", [0, 1])
def test_the_pair_of_another_deployment_is_not_adopted(deployment: InMemoryDeployment, arns: int) -> None:
    their_tags = {DEPLOYMENT_TAG: "another", KEY_TAG: "k9"}
    arn = deployment.ivs.add_pair(EAST, MINE.public_key(), their_tags)
    with pytest.raises(KeyPairNotOwned, match="another deployment"):
        import_mine(deployment, *[arn] * arns)
    assert deployment.ivs.pairs[arn]["tags"] == their_tags
    assert not deployment.ivs.requests_of("TagResource")


def test_a_pair_belongs_to_one_key_only(deployment: InMemoryDeployment) -> None:
    other, mine = deployment.generate(), import_mine(deployment)
    with pytest.raises(Conflict, match=f"is recorded as key {mine.id}"):
        adopt_pairs(deployment.context(), other.id, (only(mine).arn,))
    foreign = deployment.ivs.add_pair(EAST, NOT_MINE.public_key())
    with pytest.raises(Conflict, match="already"):
        adopt_pairs(deployment.context(), mine.id, (foreign,))
    assert deployment.ivs.pairs[foreign]["tags"] == {}
    missing_arn = foreign[:-1] + "0"
    with pytest.raises(ControlPlaneResourceMissing):
        import_mine(deployment, missing_arn, key=NOT_MINE)


def test_a_conflict_with_an_untagged_pair_suggests_its_adoption(deployment: InMemoryDeployment) -> None:
    """Our tags were removed, or our public key was imported manually."""
    deployment.ivs.losses["ImportPlaybackKeyPair"] = "before"
    with pytest.raises(ControlPlaneUnavailable):
        deployment.generate()
    (record,) = deployment.store.keys.list()
    arn = deployment.ivs.add_pair(EAST, deployment.vault.load(record.id).public_key())
    with pytest.raises(KeyPairAlreadyImported) as raised:
        commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert raised.value.remedy == Remedy(Action.ADOPT_KEY_PAIR, {"key_id": record.id, "arn": arn})
    adopt_pairs(deployment.context(), record.id, (arn,))
    commands.reconcile_and_wait(deployment.context(), (EAST,))
    assert deployment.active() == record.id
    deployment.check_completed(EAST)


def test_a_compromised_key_cannot_be_imported_again(deployment: InMemoryDeployment) -> None:
    record = import_mine(deployment)
    commands.compromise(deployment.context(), record.id, (EAST,), include_standby=False)
    with pytest.raises(Conflict, match="compromised"):
        import_mine(deployment)


def test_a_retired_key_cannot_be_imported_again(deployment: InMemoryDeployment) -> None:
    record = import_mine(deployment)
    commands.delete(deployment.context(), record.id, (EAST,))
    with pytest.raises(Conflict, match="cannot be used there again"):
        import_mine(deployment)


def test_an_inventory_reports_imports_that_are_not_recorded(deployment: InMemoryDeployment) -> None:
    other = deployment.store.keys.add("k77", "f", b"another", deployment.clock.at())
    deployment.ivs.add_pair(EAST, NOT_MINE.public_key(), tags(deployment, other.id))
    inventory = take_inventory(deployment.context(), EAST)
    assert any("not recorded yet" in problem for problem in texts(inventory.problems))
    assert require_key(deployment.store.keys.list(), other.id).placements == ()


@pytest.mark.parametrize("operation", ["GetPlaybackKeyPair", "TagResource"])
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("same", [True, False])
def test_an_adoption_whose_response_is_lost_is_completed_by_the_next_run(
    deployment: InMemoryDeployment, operation: str, lost: Lost, same: bool
) -> None:
    arn = deployment.ivs.add_pair(EAST, (MINE if same else NOT_MINE).public_key())
    deployment.ivs.losses[operation] = lost
    with pytest.raises(ControlPlaneUnavailable):
        import_mine(deployment, arn)
    record = import_mine(deployment, arn)
    assert (only(record).arn, only(record).fingerprint_differs) == (arn, not same)
    assert len(deployment.ivs.pairs) == 1


@pytest.mark.parametrize("same", [True, False])
def test_after_a_crash_at_any_step_the_next_run_reaches_the_same_state(
    migrated: Path, tmp_path: Path, same: bool
) -> None:
    """The command is repeated after an inventory by the rotation leader. Nothing is imported twice, and the longest
    lifetime of tokens signed elsewhere is not lost."""
    crashes = 0
    for at in itertools.count():
        deployment = InMemoryDeployment(migrated, tmp_path / f"keys{at}")
        arn = deployment.ivs.add_pair(EAST, (MINE if same else NOT_MINE).public_key())
        try:
            import_mine(deployment, arn, longest=9000, crash_point=CrashPoint(at))
        except Crash:
            crashes += 1
        else:
            break
        for _, placement in deployment.placements(EAST, KeyState.PREPARED):
            assert placement.longest_ttl_seconds == 9000
        sync_inventory(deployment.context(), EAST)
        record = import_mine(deployment, arn, longest=9000)
        assert only(record)[:4] == (record.id, only(record).account_region, KeyState.PREPARED, arn)
        assert (only(record).longest_ttl_seconds, only(record).fingerprint_differs) == (9000, not same)
        assert deployment.ivs.pairs[arn]["tags"] == tags(deployment, record.id)
        assert deployment.vault.key_ids() == {record.id}
        assert len(deployment.ivs.pairs) == 1
        deployment.store.close()
    assert crashes >= 8, "every step was tried"
