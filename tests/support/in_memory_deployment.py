"""A deployment in memory for tests of the key lifecycle: a real store, a real vault, a simulated IVS."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

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
READS = frozenset({"list", "read", "load", "open_entries", "history", "get", "newest", "key_ids", "read_envelope"}) | {
    "ListPlaybackKeyPairs",
    "GetPlaybackKeyPair",
}
"""Questions that have no effect."""
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
        """`vault` is the directory of private keys; None: they are in the store."""
        self.store = store_in_memory(migrated)
        self.policy = policy
        self.store.deployment.set_rotation(
            propagation_seconds=policy.propagation_seconds,
            max_age_seconds=policy.max_age_seconds,
            standby=policy.standby,
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
        """Keys whose private half is damaged."""
        self.lost_arns: frozenset[str] = frozenset()
        """Pairs that IVS does not hold although the store says so, and not by our doing."""
        self.absences, self.private_keys = AbsenceTracker(), PrivateKeyChecks()
        """What one process that goes on remembers; its worlds share it."""
        self._numbers = itertools.count(1)
        self._key_numbers = itertools.count()

    def context(self, crash_point: CrashPoint | None = None) -> KeysContext:
        crash_point = crash_point or CrashPoint()
        return KeysContext(
            keys=crash_point.wrap(self.store.keys, reads=READS),
            deployment=crash_point.wrap(self.store.deployment, reads=READS),
            journal=crash_point.wrap(self.store.journal, reads=READS),
            rotations=crash_point.wrap(self.store.rotations, reads=READS),
            vault=crash_point.wrap(self.vault, reads=READS),
            control_plane=crash_point.wrap(self.ivs, reads=READS),
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
            report=self.reports.append,
        )

    def twin(self, saved: Path) -> InMemoryDeployment:
        """The same deployment at the same moment, apart from this one, from its store in a file (`stores.save`). Its
        vault must lie in the store."""
        twin = InMemoryDeployment(saved, None, self.policy, clock=ManualClock(self.clock.wall))
        twin.ivs, twin.lost_arns, twin.damaged = self.ivs.twin(), self.lost_arns, self.damaged
        twin._numbers, twin._key_numbers = copy.copy(self._numbers), copy.copy(self._key_numbers)
        return twin

    def new_key(self) -> PrivateKey:
        """A fresh key. Each is made once for all stages: making one takes longer than everything else here."""
        number = next(self._key_numbers)
        while number >= len(_MADE):
            _MADE.append(generate())
        return _MADE[number]

    def reconcile(self, *regions: str) -> list[RegionResult]:
        return reconcile(self.context(), regions or (EAST,))

    def generate(self, *regions: str) -> KeyRecord:
        return commands.generate(self.context(), regions or (EAST,))

    def delete_in_ivs(self, key_id: str) -> None:
        """Delete a key's pairs in IVS, as after a restore of the store."""
        arns = {there.arn for record in self.store.keys.list() if record.id == key_id for there in record.placements}
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
        wish = commands.rotate(self.context(), regions, "a test")
        return str(commands.replacement_keys(self.store.keys.list(), wish)[regions[0]])

    def drain(self) -> None:
        """Advance the clock until every retiring key has drained."""
        self.clock.advance(self.policy.max_staleness_seconds + 86_400)

    def placements(self, region: str, *states: KeyState) -> list[tuple[KeyRecord, KeyPlacement]]:
        """The placements of our keys in a region that are in one of these states."""
        return [
            (record, there)
            for record in self.store.keys.list()
            for there in record.placements
            if there.account_region.region == region and there.state in states
        ]

    def active(self, region: str = EAST) -> str:
        """The id of the only active key of a region."""
        [(record, _)] = self.placements(region, KeyState.ACTIVE)
        return record.id

    def check_always(self) -> None:
        """Check what must hold at any time, also between a crash and the next run."""
        deployment_id = self.store.deployment.read().id
        kept = self.vault.key_ids()
        for pair in self.ivs.tagged(DEPLOYMENT_TAG, deployment_id):
            assert pair["tags"][KEY_TAG] in kept, "IVS holds a key whose private half is lost"
        for region in (EAST, WEST):
            active = self.placements(region, KeyState.ACTIVE)
            assert len(active) <= 1, "two keys sign"
            for record, there in self._still_needed(region):
                assert there.arn in self.ivs.pairs or there.arn in self.lost_arns, (
                    "a key that IVS does not hold may have signed tokens that still live"
                )
                if record.id not in self.damaged:
                    assert public_der(self.vault.load(record.id).public_key()) == record.public_der
            for _, there in active:
                assert there.activated_at is not None
                assert (there.activated_at - there.imported_at).total_seconds() >= self.policy.propagation_seconds, (
                    "used too early"
                )

    def check_settled(self, *regions: str) -> None:
        """Check what must hold after a complete run: one active key, and nothing left over anywhere."""
        self.check_always()
        for region in regions:
            assert len(self.placements(region, KeyState.ACTIVE)) == 1
        held = {t.arn: r.id for r in self.store.keys.list() for t in r.placements if t.is_imported}
        deployment_id = self.store.deployment.read().id
        ours = {p["arn"]: p["tags"][KEY_TAG] for p in self.ivs.tagged(DEPLOYMENT_TAG, deployment_id)}
        assert held == ours, "the store and IVS agree: no orphan, none missing"
        assert self.vault.key_ids() == set(held.values()), "the vault holds what may sign, and nothing that is over"
        assert all(r.placements for r in self.store.keys.list()), "no record of a key that never was"

    def _still_needed(self, region: str) -> list[tuple[KeyRecord, KeyPlacement]]:
        """Our keys in a region that are active, or whose tokens may still start playback."""
        draining = [
            (record, there)
            for record, there in self.placements(region, KeyState.RETIRING)
            if there.retiring_at is not None
            and (self.clock.at() - there.retiring_at).total_seconds()
            < self.policy.drain_seconds(there.longest_ttl_seconds)
        ]
        return self.placements(region, KeyState.ACTIVE) + draining

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


_MADE: list[PrivateKey] = []
