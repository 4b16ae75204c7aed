"""A deployment in memory for tests of the key lifecycle: a real store, a real vault, a simulated IVS."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

from tests.support.audit import EVENT, REQUESTER
from tests.support.clocks import ManualClock
from tests.support.crashes import CrashPoint
from tests.support.keks import CIPHER
from tests.support.leases import ManualLeases
from tests.support.simulated_ivs import SimulatedIvs
from tests.support.stores import store_in_memory
from tokensvc.deployment.record import RotationPolicy
from tokensvc.jose.keypair import PrivateKey, generate, public_der
from tokensvc.keys import commands
from tokensvc.keys.absences import AbsenceTracker
from tokensvc.keys.context import KeysContext
from tokensvc.keys.importing import import_key
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState
from tokensvc.keys.private_keys import PrivateKeyChecks
from tokensvc.keys.reconciler import RegionResult, reconcile
from tokensvc.problems import Problem
from tokensvc.storage.vault import SqlVault
from tokensvc.vault.key_files import KeyFiles
from tokensvc.vault.store import Vault

POLICY = RotationPolicy(propagation_seconds=30, max_staleness_seconds=910, standby=False)
READ_OPERATIONS = frozenset(
    {"list", "read", "load", "open_entries", "history", "get", "newest", "key_ids", "read_envelope"}
) | {
    "ListPlaybackKeyPairs",
    "GetPlaybackKeyPair",
}
"""Calls without effects."""
EAST, WEST = "us-east-1", "us-west-2"


class InMemoryDeployment:
    """What outlives a process: the store, the vault and IVS. `context` makes the dependencies of one process."""

    def __init__(
        self,
        migrated: Path,
        vault: Path | None,
        policy: RotationPolicy = POLICY,
        *,
        ivs: SimulatedIvs | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        """`vault` is the directory of private keys; None: the vault is the store."""
        self.store = store_in_memory(migrated)
        self.policy = policy
        self.store.deployment.set_rotation(
            propagation_seconds=policy.propagation_seconds,
            max_age_seconds=policy.max_age_seconds,
            standby=policy.standby,
            event=EVENT,
        )
        self.vault: Vault = SqlVault(self.store.engine, CIPHER) if vault is None else KeyFiles(vault, CIPHER)
        self.ivs = ivs or SimulatedIvs()
        self.clock = clock or ManualClock()
        self.slept: list[float] = []
        self.reports: list[str] = []
        self.leader_problems: tuple[Problem, ...] = ()
        self.leases = ManualLeases(self.clock)
        self.is_leader = True
        self.damaged: frozenset[str] = frozenset()
        """Keys whose private key is damaged."""
        self.lost_arns: frozenset[str] = frozenset()
        """Key pairs that the store has as imported and that others deleted in IVS."""
        self.absences, self.private_keys = AbsenceTracker(), PrivateKeyChecks()
        """State of one continuing process, shared by its contexts."""
        self._numbers = itertools.count(1)
        self._key_numbers = itertools.count()

    def context(self, crash_point: CrashPoint | None = None) -> KeysContext:
        crash_point = crash_point or CrashPoint()
        return KeysContext(
            keys=crash_point.wrap(self.store.keys, reads=READ_OPERATIONS),
            deployment=crash_point.wrap(self.store.deployment, reads=READ_OPERATIONS),
            journal=crash_point.wrap(self.store.journal, reads=READ_OPERATIONS),
            rotation_requests=crash_point.wrap(self.store.rotation_requests, reads=READ_OPERATIONS),
            vault=crash_point.wrap(self.vault, reads=READ_OPERATIONS),
            control_plane=crash_point.wrap(self.ivs, reads=READ_OPERATIONS),
            clock=self.clock,
            sleep=crash_point.wrap_function(self._sleep),
            new_id=lambda: f"k{next(self._numbers)}",
            new_key=self.new_key,
            max_staleness_seconds=lambda: self.policy.max_staleness_seconds,
            acquire_lease=lambda: self.is_leader,
            release_lease=lambda: None,
            leader_problems=lambda: self.leader_problems,
            absences=self.absences,
            private_keys=self.private_keys,
            requester=REQUESTER,
            report=self.reports.append,
        )

    def twin(self, saved: Path) -> InMemoryDeployment:
        """An independent copy of this deployment at the same time, from its store in a file (`stores.save`). Its
        vault must be the store."""
        twin = InMemoryDeployment(saved, None, self.policy, clock=ManualClock(self.clock.wall))
        twin.ivs, twin.lost_arns, twin.damaged = self.ivs.twin(), self.lost_arns, self.damaged
        twin._numbers, twin._key_numbers = copy.copy(self._numbers), copy.copy(self._key_numbers)
        return twin

    def new_key(self) -> PrivateKey:
        """A new key, shared with other deployments: generating one takes longer than everything else here."""
        number = next(self._key_numbers)
        while number >= len(_GENERATED_KEYS):
            _GENERATED_KEYS.append(generate())
        return _GENERATED_KEYS[number]

    def reconcile(self, *regions: str) -> list[RegionResult]:
        return reconcile(self.context(), regions or (EAST,))

    def generate(self, *regions: str) -> KeyRecord:
        return commands.generate(self.context(), regions or (EAST,))

    def delete_in_ivs(self, key_id: str) -> None:
        """Delete a key's pairs in IVS, as after a restore of the store."""
        arns = {
            placement.arn for record in self.store.keys.list() if record.id == key_id for placement in record.placements
        }
        self.lost_arns |= arns
        for arn in arns:
            del self.ivs.pairs[arn]

    def damage(self, key_id: str) -> None:
        """Replace a private key with something else."""
        self.damaged |= {key_id}
        assert self.vault.replace(key_id, self.vault.read_envelope(key_id), b"junk")

    def import_and_activate(self, region: str) -> KeyRecord:
        """An imported key that is active in this region only."""
        record = import_key(self.context(), self.new_key(), [region])
        self.clock.advance(self.policy.propagation_seconds)
        commands.activate(self.context(), record.id, [region])
        return record

    def rotate(self, *regions: str) -> str:
        """Rotate; return the new active key of the first region."""
        regions = regions or (EAST,)
        request = commands.rotate(self.context(), regions, "a test")
        return str(commands.replacement_keys(self.store.keys.list(), request)[regions[0]])

    def drain(self) -> None:
        """Advance the clock until every retiring key has drained."""
        self.clock.advance(self.policy.max_staleness_seconds + 86_400)

    def placements(self, region: str, *states: KeyState) -> list[tuple[KeyRecord, KeyPlacement]]:
        """The placements of our keys in a region that are in one of these states."""
        return [
            (record, placement)
            for record in self.store.keys.list()
            for placement in record.placements
            if placement.account_region.region == region and placement.state in states
        ]

    def active(self, region: str = EAST) -> str:
        """The id of the only active key of a region."""
        [(record, _)] = self.placements(region, KeyState.ACTIVE)
        return record.id

    def check_invariants(self) -> None:
        """Check what must hold at any time, also between a crash and the next run."""
        deployment_id = self.store.deployment.read().id
        stored = self.vault.key_ids()
        for pair in self.ivs.tagged(DEPLOYMENT_TAG, deployment_id):
            assert pair["tags"][KEY_TAG] in stored, "IVS holds a key whose private key is lost"
        for region in (EAST, WEST):
            active = self.placements(region, KeyState.ACTIVE)
            assert len(active) <= 1, "two keys are active"
            for record, placement in self._still_needed(region):
                assert placement.arn in self.ivs.pairs or placement.arn in self.lost_arns, (
                    "IVS does not hold a key whose tokens may be valid"
                )
                if record.id not in self.damaged:
                    assert public_der(self.vault.load(record.id).public_key()) == record.public_der
            for _, placement in active:
                assert placement.activated_at is not None
                assert (
                    placement.activated_at - placement.imported_at
                ).total_seconds() >= self.policy.propagation_seconds, "activated before the propagation delay ended"

    def check_completed(self, *regions: str) -> None:
        """Check what must hold after a complete run: one active key, and no leftovers."""
        self.check_invariants()
        for region in regions:
            assert len(self.placements(region, KeyState.ACTIVE)) == 1
        imported = {p.arn: r.id for r in self.store.keys.list() for p in r.placements if p.is_imported}
        deployment_id = self.store.deployment.read().id
        ours = {pair["arn"]: pair["tags"][KEY_TAG] for pair in self.ivs.tagged(DEPLOYMENT_TAG, deployment_id)}
        assert imported == ours, "store and IVS disagree: orphaned or missing pairs"
        assert self.vault.key_ids() == set(imported.values()), "the vault does not hold exactly the imported keys"
        assert all(r.placements for r in self.store.keys.list()), "a record has no placement"

    def _still_needed(self, region: str) -> list[tuple[KeyRecord, KeyPlacement]]:
        """Our keys in a region that are active, or whose tokens may still start playback."""
        draining = [
            (record, placement)
            for record, placement in self.placements(region, KeyState.RETIRING)
            if placement.retiring_at is not None
            and (self.clock.at() - placement.retiring_at).total_seconds()
            < self.policy.drain_seconds(placement.longest_ttl_seconds)
        ]
        return self.placements(region, KeyState.ACTIVE) + draining

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


_GENERATED_KEYS: list[PrivateKey] = []
