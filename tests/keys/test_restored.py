"""A store restored from a backup older than a compromise: what IVS holds overrides it, once it is confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import EVENT
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.simulated_ivs import SimulatedIvs, outage, throttle
from tests.support.stores import restore, save
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import Conflict, ControlPlaneError, ForeignDeployment, KeyNotFound
from tokensvc.keys import commands
from tokensvc.keys.absences import CONFIRM_SECONDS
from tokensvc.keys.importing import adopt_pairs, import_key
from tokensvc.keys.inventory import COMPROMISED_TAG, DEPLOYMENT_TAG, KEY_TAG, take_inventory
from tokensvc.keys.lifecycle import KeyState, StepKind, require_key
from tokensvc.keys.steps import generate_key

pytestmark = pytest.mark.long

PREPARED, ACTIVE, RETIRING, RETIRED, COMPROMISED = KeyState


class RestoredDeployment(InMemoryDeployment):
    """A deployment whose store can be backed up and restored."""

    def __init__(self, migrated: Path, backup: Path, *, standby: bool) -> None:
        super().__init__(migrated, None, POLICY._replace(standby=standby))
        self._backup = backup

    def save(self) -> None:
        save(self.store, self._backup)

    def restore(self) -> None:
        restore(self.store, self._backup)

    def states(self, region: str = EAST) -> dict[str, KeyState]:
        return {
            r.id: placement.state
            for r in self.store.keys.list()
            for placement in r.placements
            if placement.account_region.region == region
        }

    def held(self, region: str = EAST) -> set[str]:
        """The keys whose pairs IVS holds."""
        return {pair["tags"].get(KEY_TAG, "") for arn, pair in self.ivs.pairs.items() if f":{region}:" in arn}

    def confirm(self, *regions: str) -> None:
        """Inspect IVS twice, with the interval that a confirmation takes."""
        self.reconcile(*regions)
        self.clock.advance(CONFIRM_SECONDS)
        self.reconcile(*regions)


@pytest.fixture
def full(migrated: Path, tmp_path: Path) -> RestoredDeployment:
    """Two retiring keys and an active one; the store is restored from before the active one was compromised."""
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.generate()
    deployment.rotate()
    deployment.rotate()
    deployment.save()
    commands.compromise(deployment.context(), deployment.active(), [EAST], include_standby=False)
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    deployment.restore()
    return deployment


@pytest.fixture
def with_standby(migrated: Path, tmp_path: Path) -> RestoredDeployment:
    """A retiring key, an active one and a standby; restored from before the active one was compromised."""
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=True)
    deployment.generate()
    deployment.rotate()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.save()
    commands.compromise(deployment.context(), deployment.active(), [EAST], include_standby=False)
    deployment.restore()
    return deployment


def absent_active_key(deployment: RestoredDeployment) -> str:
    """The active key according to the store, whose pair IVS does not hold."""
    key_id = deployment.active()
    assert key_id not in deployment.held()
    return key_id


def test_a_pair_whose_key_is_lost_while_it_is_imported_stays(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the restore, another process may have found the pair and made it active: tokens of it may be in use."""
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.save()
    import_pair = SimulatedIvs._ImportPlaybackKeyPair

    def import_and_lose(ivs: SimulatedIvs, region: str, request: Mapping[str, Any]) -> Any:
        response = import_pair(ivs, region, request)
        deployment.restore()
        return response

    monkeypatch.setattr(SimulatedIvs, "_ImportPlaybackKeyPair", import_and_lose)
    with pytest.raises(KeyNotFound):
        deployment.generate()
    monkeypatch.undo()
    [lost] = deployment.held()
    [result] = deployment.reconcile()
    assert any(lost in text for text in texts(result.problems)), "an operator is told"
    assert lost in deployment.held()


# --- signing moves to what IVS holds


def test_with_all_slots_in_use_a_retiring_key_is_reactivated(full: RestoredDeployment) -> None:
    lost, before = absent_active_key(full), full.placements(EAST, RETIRING)
    newest = max(before, key=lambda pair: pair[1].retiring_at or pair[1].imported_at)[0].id
    full.confirm()
    assert full.active() == newest
    assert full.active() in full.held()
    assert full.states()[lost] is RETIRED
    assert not full.store.journal.open_entries()
    [step] = [e for e in full.store.journal.history(lost, 10) if e.kind is StepKind.RECORD_ABSENCE]
    assert step.outcome == "done"


def test_a_standby_that_ivs_holds_is_preferred_to_a_retiring_key(with_standby: RestoredDeployment) -> None:
    absent_active_key(with_standby)
    [(standby, _)] = with_standby.placements(EAST, PREPARED)
    with_standby.confirm()
    assert with_standby.active() == standby.id


def test_drains_start_anew_and_longest_lifetimes_are_raised(full: RestoredDeployment) -> None:
    """Any of these keys may have signed in the period that the store has lost."""
    full.store.deployment.set_max_ttl_seconds(86_400, event=EVENT)
    full.clock.advance(POLICY.max_staleness_seconds + 3600 + 10)
    full.confirm()
    confirmed_at = full.clock.at()
    for _, placement in full.placements(EAST, ACTIVE, RETIRING):
        assert placement.longest_ttl_seconds == 86_400
        assert placement.retiring_at == confirmed_at or placement.state is ACTIVE
    assert len(full.placements(EAST, ACTIVE, RETIRING)) == 2, "neither was deleted, although it had drained"


def test_without_a_usable_key_nothing_is_signed_until_a_new_key_is_usable(migrated: Path, tmp_path: Path) -> None:
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.generate()
    deployment.save()
    commands.compromise(deployment.context(), deployment.active(), [EAST], include_standby=False)
    deployment.restore()
    deployment.confirm()
    assert not deployment.placements(EAST, ACTIVE)
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    assert deployment.active() in deployment.held()


def test_the_standby_is_absent_too(migrated: Path, tmp_path: Path) -> None:
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=True)
    deployment.generate()
    retiring = deployment.active()
    deployment.rotate()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.save()
    commands.compromise(deployment.context(), deployment.active(), [EAST], include_standby=True)
    deployment.restore()
    deployment.confirm()
    assert deployment.active() == retiring
    assert not [
        placement
        for _, placement in deployment.placements(EAST, PREPARED, ACTIVE, RETIRING)
        if placement.arn not in deployment.ivs.pairs
    ]


def test_each_region_is_handled_independently(migrated: Path, tmp_path: Path) -> None:
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    signing = deployment.active(WEST)
    [(_, placement)] = deployment.placements(EAST, ACTIVE)
    del deployment.ivs.pairs[placement.arn]
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.confirm(EAST, WEST)
    assert deployment.active(WEST) == signing
    assert deployment.active(EAST) != signing


def test_commands_wait_for_the_confirmation(full: RestoredDeployment) -> None:
    """They wait for the second response, and succeed."""
    absent_active_key(full)
    commands.reconcile_and_wait(full.context(), [EAST])
    assert full.active() in full.held()
    assert CONFIRM_SECONDS in full.slept


def test_a_manual_rotation_succeeds(full: RestoredDeployment) -> None:
    lost = absent_active_key(full)
    assert full.rotate() != lost
    assert full.active() in full.held()


def test_a_retiring_key_can_be_activated_manually(full: RestoredDeployment) -> None:
    """It then signs for as long as any other key."""
    absent_active_key(full)
    chosen = full.placements(EAST, RETIRING)[0][0].id
    commands.activate(full.context(), chosen, [EAST])
    full.confirm()
    assert full.active() == chosen
    [(_, placement)] = full.placements(EAST, ACTIVE)
    assert placement.retiring_at is None
    assert placement.activated_at is not None


def test_a_rotation_can_be_undone(migrated: Path, tmp_path: Path) -> None:
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    former = deployment.generate().id
    latter = deployment.rotate()
    commands.activate(deployment.context(), former, [EAST])
    assert deployment.states() == {former: ACTIVE, latter: RETIRING}
    deployment.check_completed(EAST)


# --- keys that may have signed in the lost period are drained before they are deleted


def check_drains(deployment: RestoredDeployment, key_id: str) -> None:
    """Assert that the pair is deleted when the last token that the key may have signed has expired, and not before."""
    deployment.clock.advance(POLICY.drain_seconds(3600) - 1)
    deployment.reconcile()
    assert key_id in deployment.held()
    deployment.clock.advance(1)
    deployment.reconcile()
    assert key_id not in deployment.held()


@pytest.fixture
def unrecorded(migrated: Path, tmp_path: Path) -> tuple[RestoredDeployment, str]:
    """A key signed in the lost period; the restored store only knows that it was generated."""
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.generate()
    made = generate_key(deployment.context(), "a test")
    deployment.save()
    assert deployment.rotate() == made.id
    deployment.restore()
    return deployment, made.id


def test_a_pair_whose_import_was_lost_is_drained_before_it_is_deleted(
    unrecorded: tuple[RestoredDeployment, str],
) -> None:
    deployment, key_id = unrecorded
    deployment.vault.remove(key_id)
    deployment.reconcile()
    assert deployment.states()[key_id] is PREPARED
    check_drains(deployment, key_id)


def test_a_pair_whose_import_was_lost_cannot_be_deleted_manually_before_it_is_drained(
    unrecorded: tuple[RestoredDeployment, str],
) -> None:
    deployment, key_id = unrecorded
    deployment.reconcile()
    with pytest.raises(Conflict, match="may be valid in us-east-1 until"):
        commands.delete(deployment.context(), key_id, [EAST])
    assert key_id in deployment.held()


def test_a_pair_whose_import_was_lost_has_the_longest_lifetime_that_was_allowed(
    unrecorded: tuple[RestoredDeployment, str],
) -> None:
    """A second recording, or a lower limit since, does not shorten it."""
    deployment, key_id = unrecorded
    deployment.reconcile()
    deployment.store.deployment.set_max_ttl_seconds(300, event=EVENT)
    deployment.reconcile()
    [(_, placement)] = deployment.placements(EAST, PREPARED)
    assert (placement.key_id, placement.longest_ttl_seconds) == (key_id, 3600)


@pytest.fixture
def lost_standby(with_standby: RestoredDeployment) -> tuple[RestoredDeployment, str]:
    """A standby, imported long ago, signed in the lost period and can no longer be decrypted."""
    [(standby, _)] = with_standby.placements(EAST, PREPARED)
    with_standby.clock.advance(POLICY.drain_seconds(3600))
    with_standby.vault.remove(standby.id)
    return with_standby, standby.id


def test_a_lost_standby_is_not_deleted_while_the_active_key_is_absent(
    lost_standby: tuple[RestoredDeployment, str],
) -> None:
    deployment, standby = lost_standby
    lost = absent_active_key(deployment)
    deployment.reconcile()
    assert deployment.active() == lost
    assert standby in deployment.held()


def test_a_standby_cannot_be_deleted_manually_while_the_active_key_is_absent(with_standby: RestoredDeployment) -> None:
    """It may have signed. A compromised key can be deleted in any case."""
    [(standby, _)] = with_standby.placements(EAST, PREPARED)
    with_standby.clock.advance(POLICY.drain_seconds(3600))
    lost = absent_active_key(with_standby)
    with pytest.raises(Conflict, match="may have been restored") as raised:
        commands.delete(with_standby.context(), standby.id, [EAST])
    assert failure_text(raised.value).endswith("; first: tokensvc keys reconcile")
    [(retiring, _)] = with_standby.placements(EAST, RETIRING)
    with pytest.raises(Conflict, match="may have been restored"):
        commands.delete(with_standby.context(), retiring.id, [EAST])
    assert with_standby.active() == lost
    assert {standby.id, retiring.id} <= with_standby.held()
    commands.reconcile_and_wait(with_standby.context(), [EAST])
    with pytest.raises(Conflict, match="may be valid in us-east-1 until"):
        commands.delete(with_standby.context(), retiring.id, [EAST])
    commands.compromise(with_standby.context(), retiring.id, [EAST], include_standby=False)
    assert retiring.id not in with_standby.held()


def test_a_lost_standby_drains_once_the_absence_of_the_active_key_is_confirmed(
    lost_standby: tuple[RestoredDeployment, str],
) -> None:
    deployment, standby = lost_standby
    deployment.confirm()
    assert deployment.active() != standby
    check_drains(deployment, standby)


def test_a_lost_standby_drains_when_the_lost_compromise_is_repeated(
    lost_standby: tuple[RestoredDeployment, str],
) -> None:
    """IVS does not hold the compromised pair although its deletion was never started, which reveals the restore."""
    deployment, standby = lost_standby
    commands.compromise(deployment.context(), absent_active_key(deployment), [EAST], include_standby=False)
    check_drains(deployment, standby)


def test_a_retiring_key_drains_anew_when_the_lost_compromise_is_repeated(with_standby: RestoredDeployment) -> None:
    [(retiring, _)] = with_standby.placements(EAST, RETIRING)
    with_standby.clock.advance(POLICY.drain_seconds(3600))
    commands.compromise(with_standby.context(), absent_active_key(with_standby), [EAST], include_standby=False)
    check_drains(with_standby, retiring.id)


def test_a_compromise_whose_deletion_response_was_lost_starts_no_drain(migrated: Path, tmp_path: Path) -> None:
    """That IVS no longer holds the pair is the result of the lost deletion."""
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.generate()
    retiring = deployment.active()
    deployment.rotate()
    deployment.rotate()
    [before, _] = [placement for _, placement in deployment.placements(EAST, RETIRING)]
    deployment.clock.advance(60)
    deployment.ivs.losses["DeletePlaybackKeyPair"] = "after"
    commands.compromise(deployment.context(), deployment.active(), [EAST], include_standby=False)
    deployment.reconcile()
    assert before.key_id == retiring
    assert require_key(deployment.store.keys.list(), retiring).placements[0].retiring_at == before.retiring_at


def test_a_standby_that_took_over_after_a_restore_is_not_replaced(with_standby: RestoredDeployment) -> None:
    """That it may have signed before does not make it a reactivated key."""
    [(standby, _)] = with_standby.placements(EAST, PREPARED)
    with_standby.confirm()
    with_standby.clock.advance(POLICY.propagation_seconds)
    with_standby.reconcile()
    [(_, placement)] = with_standby.placements(EAST, ACTIVE)
    assert (placement.key_id, placement.retiring_at) == (standby.id, None)


# --- what confirms that a pair is absent


def test_one_response_confirms_nothing(full: RestoredDeployment) -> None:
    lost = absent_active_key(full)
    [result] = full.reconcile()
    assert full.active() == lost
    assert result.wait is not None
    assert result.wait.until == full.clock.at() + timedelta(seconds=CONFIRM_SECONDS)
    full.clock.advance(CONFIRM_SECONDS - 0.1)
    full.reconcile()
    assert full.active() == lost
    full.clock.advance(0.1)
    full.reconcile()
    assert full.active() != lost


def test_a_pair_that_ivs_shows_in_between_needs_two_new_responses(full: RestoredDeployment) -> None:
    lost = absent_active_key(full)
    [(record, placement)] = full.placements(EAST, ACTIVE)
    full.reconcile()
    full.ivs.pairs[placement.arn] = {
        "arn": placement.arn,
        "name": "",
        "fingerprint": record.fingerprint,
        "material": "",
        "tags": {},
    }
    full.reconcile()
    del full.ivs.pairs[placement.arn]
    full.clock.advance(CONFIRM_SECONDS)
    full.reconcile()
    assert full.active() == lost


def test_a_key_within_its_propagation_delay_is_not_absent(migrated: Path, tmp_path: Path) -> None:
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=True)
    deployment.generate()
    deployment.reconcile()
    [(_, ready)] = deployment.placements(EAST, PREPARED)
    pair = deployment.ivs.pairs.pop(ready.arn)
    deployment.confirm()
    deployment.ivs.pairs[ready.arn] = pair
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.confirm()
    assert deployment.states()[ready.key_id] is PREPARED


class Elsewhere(SimulatedIvs):
    """A simulator with the same account number, and ARNs that no other simulator has."""

    def _arn(self, region: str, kind: str) -> str:
        return super()._arn(region, kind) + "x"


@pytest.mark.parametrize(
    "ivs",
    [SimulatedIvs("210987654321"), SimulatedIvs()],
    ids=["an empty account", "an empty list of our account"],
)
def test_nothing_is_recorded_as_absent_if_ivs_shows_nothing_of_ours(
    full: RestoredDeployment, ivs: SimulatedIvs
) -> None:
    ivs.errors["ImportPlaybackKeyPair"] = outage()
    before, full.ivs = full.store.keys.list(), ivs
    for _ in range(4):
        full.confirm()
    assert [r for r in full.store.keys.list() if r.placements] == before


def test_foreign_pairs_in_a_local_ivs_do_not_verify_the_account(full: RestoredDeployment) -> None:
    """Every local IVS has the same account."""
    full.store.deployment.bind("local")
    full.ivs = Elsewhere()
    full.ivs.add_foreign(EAST, 3)
    before = full.store.keys.list()
    for _ in range(4):
        full.confirm()
    assert full.store.keys.list() == before


def test_foreign_pairs_in_aws_verify_the_account(full: RestoredDeployment) -> None:
    full.store.deployment.bind("aws")
    full.ivs = Elsewhere()
    full.ivs.add_foreign(EAST, 3)
    full.confirm()
    assert not full.placements(EAST, ACTIVE)


@pytest.mark.parametrize("error", [outage(), throttle()], ids=["outage", "throttle"])
@pytest.mark.parametrize("operation", ["ListPlaybackKeyPairs", "GetPlaybackKeyPair"])
def test_errors_confirm_nothing(full: RestoredDeployment, operation: str, error: ControlPlaneError) -> None:
    lost = absent_active_key(full)
    full.reconcile()
    full.ivs.errors[operation] = error
    for _ in range(20):
        full.confirm()
    assert full.active() == lost
    assert len(full.ivs.pairs) == 3


def test_an_incomplete_list_confirms_nothing(full: RestoredDeployment) -> None:
    full.confirm()
    before = full.store.keys.list()
    listed = full.ivs._ListPlaybackKeyPairs

    def cut(region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        response = listed(region, request)
        return {"keyPairs": response["keyPairs"][:1]}

    full.ivs._ListPlaybackKeyPairs = cut  # type: ignore[method-assign]
    for _ in range(10):
        full.confirm()
    after = full.store.keys.list()
    assert [r for r in after if r.placements][: len(before)] == before


# --- a compromise is on the pair itself


def test_a_compromised_pair_that_cannot_be_deleted_is_tagged(with_standby: RestoredDeployment) -> None:
    bad = with_standby.rotate()
    with_standby.ivs.errors["DeletePlaybackKeyPair"] = outage()
    commands.compromise(with_standby.context(), bad, [EAST], include_standby=False)
    [pair] = [p for p in with_standby.ivs.pairs.values() if p["tags"][KEY_TAG] == bad]
    assert pair["tags"][COMPROMISED_TAG].endswith("Z")


def test_a_failure_to_tag_does_not_delay_other_deletions(migrated: Path, tmp_path: Path) -> None:
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=False)
    deployment.generate(EAST, WEST)
    deployment.ivs.errors["TagResource"] = outage()
    bad = deployment.active()
    deployment.ivs.losses["DeletePlaybackKeyPair"] = "before"
    deployment.ivs.calls.clear()
    commands.compromise(deployment.context(), bad, [EAST, WEST], include_standby=False)
    called = [(region, operation) for region, operation, _ in deployment.ivs.calls]
    assert called.count((EAST, "TagResource")) == 1, "one attempt"
    assert called.index((WEST, "DeletePlaybackKeyPair")) < called.index((EAST, "TagResource"))
    assert bad not in deployment.held(WEST)


@pytest.fixture
def tagged(migrated: Path, tmp_path: Path) -> RestoredDeployment:
    """Restored from before a compromise whose pair could not be deleted."""
    deployment = RestoredDeployment(migrated, tmp_path / "backup.db", standby=True)
    deployment.generate(EAST, WEST)
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.save()
    deployment.ivs.errors["DeletePlaybackKeyPair"] = outage()
    commands.compromise(deployment.context(), deployment.active(), [EAST, WEST], include_standby=False)
    deployment.restore()
    return deployment


def test_a_tagged_key_is_not_used_after_a_restore(tagged: RestoredDeployment) -> None:
    bad = tagged.active()
    assert bad in tagged.held()
    tagged.reconcile(EAST, WEST)
    assert require_key(tagged.store.keys.list(), bad).compromised_at is not None
    assert tagged.active(EAST) != bad
    assert tagged.active(WEST) != bad
    tagged.ivs.errors.clear()
    tagged.reconcile(EAST, WEST)
    assert bad not in tagged.held(EAST) | tagged.held(WEST)


def test_a_tag_shows_that_other_keys_may_have_signed(tagged: RestoredDeployment) -> None:
    """A standby that can no longer be decrypted took over in the period that the restored store has lost."""
    [(standby, _)] = tagged.placements(EAST, PREPARED)
    tagged.clock.advance(POLICY.drain_seconds(3600))
    tagged.vault.remove(standby.id)
    tagged.ivs.errors.clear()
    tagged.reconcile()
    check_drains(tagged, standby.id)


def test_a_tagged_key_is_neither_activated_nor_adopted_nor_imported(tagged: RestoredDeployment) -> None:
    bad = tagged.active()
    record = require_key(tagged.store.keys.list(), bad)
    private_key = tagged.vault.load(bad)
    arn = next(placement.arn for placement in record.placements if placement.account_region.region == EAST)
    acts: tuple[Callable[[], object], ...] = (
        lambda: commands.activate(tagged.context(), bad, [EAST]),
        lambda: adopt_pairs(tagged.context(), bad, [arn]),
        lambda: import_key(tagged.context(), private_key, [EAST]),
    )
    for act in acts:
        tagged.restore()
        with pytest.raises(Conflict):
            act()
        assert bad not in [r.id for r, _ in tagged.placements(EAST, ACTIVE)]


def test_a_tagged_pair_without_our_other_tags_is_not_adopted(with_standby: RestoredDeployment) -> None:
    key = with_standby.new_key()
    arn = with_standby.ivs.add_pair(WEST, key.public_key(), {COMPROMISED_TAG: "2027-01-15T08:00:00Z"})
    with pytest.raises(Conflict, match="compromised"):
        import_key(with_standby.context(), key, [WEST], [arn])
    assert arn in with_standby.ivs.pairs, "it may belong to somebody else"


def test_a_tagged_pair_of_an_unknown_key_is_deleted(with_standby: RestoredDeployment) -> None:
    deployment_id = with_standby.store.deployment.read().id
    tags = {DEPLOYMENT_TAG: deployment_id, KEY_TAG: "k99", COMPROMISED_TAG: "2027-01-15T08:00:00Z"}
    [stray] = with_standby.ivs.add_foreign(WEST, tags=tags)
    others = {DEPLOYMENT_TAG: "another", KEY_TAG: "k99", COMPROMISED_TAG: "2027-01-15T08:00:00Z"}
    [foreign] = with_standby.ivs.add_foreign(WEST, tags=others)
    with_standby.reconcile(EAST, WEST)
    assert stray not in with_standby.ivs.pairs
    assert foreign in with_standby.ivs.pairs
    assert not with_standby.store.journal.open_entries()


def test_an_inventory_changes_nothing(tagged: RestoredDeployment) -> None:
    before = tagged.store.keys.list()
    inventory = take_inventory(tagged.context(), EAST)
    assert tagged.store.keys.list() == before
    assert any("compromised" in problem for problem in texts(inventory.problems))


def test_another_account_is_still_rejected(full: RestoredDeployment) -> None:
    full.ivs = SimulatedIvs("210987654321")
    full.ivs.add_foreign(EAST)
    [result] = full.reconcile()
    assert isinstance(result.error, ForeignDeployment)
