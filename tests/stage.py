"""A deployment in memory, to perform the lifecycle of keys on: a real store, a real vault, a simulated IVS."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.clocks import ManualClock
from tests.crashing import Tripwire
from tests.simulator import IvsSimulator
from tests.stores import store_in_memory
from tests.wrapping import WRAPPER
from tokensvc import rotate
from tokensvc.adapters.keyfiles import KeyFiles
from tokensvc.core.keypair import public_der
from tokensvc.core.lifecycle import HELD_BY_IVS, KeyState
from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS
from tokensvc.ports.keys import KeyInPlace, KeyRecord

PACE = rotate.Pace(lead_seconds=30, reach_seconds=910)
EAST, WEST = "us-east-1", "us-west-2"


class Stage:
    """What outlives a process: the store, the vault and IVS. `world` is what one process works with."""

    def __init__(self, migrated: Path, vault: Path) -> None:
        self.store = store_in_memory(migrated)
        self.vault = KeyFiles(vault, WRAPPER)
        self.ivs = IvsSimulator()
        self.clock = ManualClock()
        self.slept: list[float] = []
        self.reports: list[str] = []
        self._numbers = itertools.count(1)

    def world(self, wire: Tripwire | None = None) -> rotate.World:
        wire = wire or Tripwire()
        return rotate.World(
            wire.around(self.store.keys),
            wire.around(self.store.deployment),
            wire.around(self.vault),
            wire.around(self.ivs),
            self.clock,
            wire.watched(self._sleep),
            lambda: f"k{next(self._numbers)}",
            self.reports.append,
        )

    def generate(self, *regions: str) -> KeyRecord:
        return rotate.generate(self.world(), regions or (EAST,), PACE)

    def rotate(self, *regions: str) -> KeyRecord:
        return rotate.rotate(self.world(), regions or (EAST,), PACE)

    def drain(self) -> None:
        """Let so much time pass that every retiring key has drained."""
        self.clock.advance(PACE.reach_seconds + 86_400)

    def places(self, region: str, *states: KeyState) -> list[tuple[KeyRecord, KeyInPlace]]:
        """Our keys in a region in one of these states."""
        return [
            (record, there)
            for record in self.store.keys.list()
            for there in record.places
            if there.place.region == region and there.state in states
        ]

    def active(self, region: str = EAST) -> str:
        """The id of the one key that signs in a region."""
        [(record, _)] = self.places(region, KeyState.ACTIVE)
        return record.id

    def check_always(self) -> None:
        """What must hold at any moment, also between a crash and the next run."""
        deployment_id = self.store.deployment.read().id
        kept = self.vault.key_ids()
        for pair in self.ivs.tagged(rotate.DEPLOYMENT_TAG, deployment_id):
            assert pair["tags"][rotate.KEY_TAG] in kept, "IVS holds a key whose private half is lost"
        for region in (EAST, WEST):
            active = self.places(region, KeyState.ACTIVE)
            assert len(active) <= 1, "two keys sign"
            for record, there in self._still_needed(region):
                assert there.arn in self.ivs.pairs, (
                    "a key that IVS does not hold may have signed tokens that still live"
                )
                assert public_der(self.vault.open(record.id).public_key()) == record.public_der
            for _, there in active:
                assert there.activated_at is not None
                assert (there.activated_at - there.imported_at).total_seconds() >= PACE.lead_seconds, "used too early"

    def check_settled(self, *regions: str) -> None:
        """What must hold once a run went through: one key signs, and nothing is left over anywhere."""
        self.check_always()
        for region in regions:
            assert len(self.places(region, KeyState.ACTIVE)) == 1
            assert not self.places(region, KeyState.PREPARED)
        held = {t.arn: r.id for region in (EAST, WEST) for r, t in self.places(region, *HELD_BY_IVS)}
        deployment_id = self.store.deployment.read().id
        ours = {p["arn"]: p["tags"][rotate.KEY_TAG] for p in self.ivs.tagged(rotate.DEPLOYMENT_TAG, deployment_id)}
        assert held == ours, "the store and IVS agree: no orphan, none missing"
        assert self.vault.key_ids() == set(held.values()), "the vault holds what may sign, and nothing that is over"
        assert all(r.places for r in self.store.keys.list()), "no record of a key that never was"

    def _still_needed(self, region: str) -> list[tuple[KeyRecord, KeyInPlace]]:
        """Our keys in a region that sign, or whose tokens may still start playback."""
        draining = [
            (record, there)
            for record, there in self.places(region, KeyState.RETIRING)
            if there.retiring_at is not None
            and (self.clock.at() - there.retiring_at).total_seconds()
            < PACE.reach_seconds + there.longest_ttl_seconds + CLOCK_SKEW_SECONDS
        ]
        return self.places(region, KeyState.ACTIVE) + draining

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
