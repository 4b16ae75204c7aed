"""A deployment with workers that sign, watched at every moment of whatever history it goes through.

Rules of the file
- Workers are real refreshes. Each state that the store was ever in has a worker that heard of it just before it changed
  and goes on with it for R; and there are workers that cannot open every second key, and so sign with a retiring one.
- A ledger keeps, by key and region, when the last token ends that any of them could have signed.
- Nothing here knows the rules of the lifecycle: it only looks at what workers sign, what IVS holds, and what is stored.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.crashes import CrashPoint, crash
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.keks import WRAPPER
from tests.support.simulated_ivs import SimulatedIvs
from tests.support.stores import restore, save
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.background.refresh import Refresh
from tokensvc.deployment.versions import StoreVersions
from tokensvc.errors import PrivateKeyMissing
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing.openssl import OpenSslSigner
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG
from tokensvc.keys.lifecycle import KeyState
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_ids import ViewerIdResolver
from tokensvc.vault.store import Vault

REGIONS = (EAST, WEST)


class WatchedIvs(SimulatedIvs):
    """IVS that tells before a pair goes."""

    def __init__(self) -> None:
        super().__init__()
        self.before_it_goes: Callable[[dict[str, Any]], None] = lambda pair: None

    def _DeletePlaybackKeyPair(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        if request["arn"] in self.pairs:
            self.before_it_goes(self.pairs[request["arn"]])
        return super()._DeletePlaybackKeyPair(region, request)


class Signing(NamedTuple):
    """What a worker signs with in a region."""

    key_id: str
    life_seconds: int
    until: float


class PartlyUndecryptableVault:
    """A vault in which every second key cannot be opened."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def open(self, key_id: str) -> PrivateKey:
        if int(key_id[1:]) % 2:
            raise PrivateKeyMissing(f"key {key_id} is not to be seen from here")
        return self._vault.open(key_id)


class Workers:
    """All workers that see the same vault: one that has heard, and those that have not heard for up to R."""

    def __init__(self, stage: InMemoryDeployment, vault: Any) -> None:
        store = stage.store
        self._clock = stage.clock
        self._reach = stage.policy.max_staleness_seconds
        self._refresh = Refresh(
            versions=store.versions,
            deployment=store.deployment,
            keys=store.keys,
            callers=store.callers,
            channels=store.channels,
            denials=DenylistSync(store.denials),
            vault=vault,
            subjects=ViewerIdResolver(store.deployment, lambda: WRAPPER),
            signer=OpenSslSigner(),
            clock=self._clock,
            max_staleness_seconds=self._reach,
        )
        self.current: dict[str, Signing] = {}
        self.elders: list[tuple[dict[str, Signing], float]] = []

    def hear(self) -> None:
        """Read the store; a worker that is frozen just before goes on with what it knew."""
        self._refresh.run_once()
        signing = _signing(self._refresh.current)
        if signing != self.current:
            self.elders.append((self.current, self._clock.now() + self._reach))
            self.current = signing
        self.elders = [(signing, last) for signing, last in self.elders if last >= self._clock.now()]

    def all(self) -> list[tuple[dict[str, Signing], float]]:
        """What each signs with, and for how long it goes on."""
        return [(self.current, math.inf), *self.elders]


class History(InMemoryDeployment):
    """A stage whose every effect is watched."""

    def __init__(self, migrated: Path) -> None:
        self.watched = WatchedIvs()
        super().__init__(migrated, None, POLICY, ivs=self.watched)
        self.watched.before_it_goes = self._must_not_be_missed
        self.groups = [Workers(self, self.vault), Workers(self, PartlyUndecryptableVault(self.vault))]
        self.ends: dict[tuple[str, str], float] = {}
        """By key and region, when the last token ends that may have been signed there."""
        self.taken: set[tuple[str, str]] = set()
        """Keys whose pair somebody deleted by hand, with the region."""
        self.compromised: set[str] = set()
        self.foreign: set[str] = set()
        self.orphans: set[str] = set()
        """Pairs with our tag whose keys a restore has made the store forget."""
        self.forgotten: set[str] = set()
        """Pairs with our tag that a restore has made the store forget, whether it knows their keys or not."""
        self.has_backup = False
        self.deployment_id = self.store.deployment.read().id
        self._backup = Path(tempfile.mkdtemp()) / "backup.db"
        self._signed_until = self.clock.now()
        self._seen: StoreVersions | None = None
        self.hear()

    def wire(self, at: int | None = None, *, after: bool = False, does: Callable[[], None] = crash) -> CrashPoint:
        """As `CrashPoint`; workers hear after each effect."""
        return CrashPoint(at, after=after, does=does, each=self.hear)

    def hear(self) -> None:
        """Something may have changed: every worker that can hears of it, and what must hold is looked at."""
        versions = self.store.versions.read()._replace(now=0)
        if versions != self._seen:
            self._seen = versions
            for group in self.groups:
                group.hear()
            self._check_store()
        self.sign()

    def sign(self) -> None:
        """Everyone has signed ever since, at the last for the longest life, up to now or as long as it may."""
        since, self._signed_until = self._signed_until, self.clock.now()
        held = {(pair["tags"][KEY_TAG], region_of(pair["arn"])) for pair in self.ours()}
        for group in self.groups:
            for signing, last in group.all():
                for region, key in signing.items():
                    at = min(self.clock.now(), last, key.until)
                    where = (key.key_id, region)
                    if at < since:
                        continue
                    assert where in held | self.taken or key.key_id in self.compromised, (
                        f"{where} signs and is not held"
                    )
                    self.ends[where] = max(self.ends.get(where, 0.0), at + key.life_seconds)

    def ours(self) -> list[dict[str, Any]]:
        """Our pairs, as IVS holds them."""
        return self.ivs.tagged(DEPLOYMENT_TAG, self.deployment_id)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; whoever may sign does."""
        self.clock.advance(seconds)
        self.hear()

    def take_by_hand(self, pair: dict[str, Any]) -> None:
        """Somebody deletes one of our pairs."""
        self.taken.add((pair["tags"][KEY_TAG], region_of(pair["arn"])))
        del self.ivs.pairs[pair["arn"]]

    def back_up(self) -> None:
        """Copy the store."""
        save(self.store, self._backup)
        self.has_backup = True

    def restore(self) -> None:
        """Put the copy back. What IVS does not hold although the store says so is as if somebody had deleted it. Tokens
        of the time that is forgotten are not promised anything: the store cannot know which keys signed them. Of the
        workers that have not read the store since, see `_is_promised`."""
        restore(self.store, self._backup)
        known, held = {record.id for record in self.store.keys.list()}, {pair["arn"] for pair in self.ours()}
        self.orphans = {pair["arn"] for pair in self.ours() if pair["tags"][KEY_TAG] not in known}
        self.forgotten = {pair["arn"] for pair in self.ours()} - self._recorded()
        every = {key.key_id for group in self.groups for signing, _ in group.all() for key in signing.values()}
        self.taken |= {(key_id, region) for key_id in every | known for region in REGIONS} - {
            (pair["tags"][KEY_TAG], region_of(pair["arn"])) for pair in self.ours() if pair["arn"] in held
        }
        self.ends.clear()
        ceiling = self.store.deployment.read().max_ttl_seconds
        for group in self.groups:
            group.elders.clear()
            group.current = {
                region: key._replace(life_seconds=min(key.life_seconds, ceiling))
                for region, key in group.current.items()
                if self._is_promised(key.key_id, region)
            }
        self._seen = None  # everyone reads the store anew, even one that has not changed since the copy

    def _is_promised(self, key_id: str, region: str) -> bool:
        """Whether the tokens that a worker signs before it reads the store that was just restored start playback.

        Not where the restored store says that the key never signed there, or has retired: that is false, and as long as
        IVS holds the key that should sign there, nothing shows it. (What does show it, and protects the tokens then, is
        in test_rotate_restored.) Where it says nothing of the key, IVS itself does; and no life counts that is longer
        than the restored store allows.
        """
        places = [there for record in self.store.keys.list() if record.id == key_id for there in record.placements]
        return all(there.state is KeyState.ACTIVE for there in places if there.account_region.region == region)

    def left_to_operators(self, wanted: tuple[str, ...]) -> set[str]:
        """Pairs that no performer deletes: those of keys that the store does not know, and those that a restore has
        made it forget in a region that is no longer wanted, where nothing tells it to look."""
        unseen = {arn for arn in self.forgotten - self._recorded() if region_of(arn) not in wanted}
        return (self.orphans | unseen) & self.ivs.pairs.keys()

    def _recorded(self) -> set[str]:
        return {there.arn for record in self.store.keys.list() for there in record.all_placements}

    def check_no_orphan(self, region: str) -> None:
        """What bears our tag in IVS is known to the store."""
        known = {there.arn for record in self.store.keys.list() for there in record.placements if there.is_imported}
        stray = {pair["arn"]: pair["tags"] for pair in self.ours() if region_of(pair["arn"]) == region}
        assert stray.keys() <= known | self.orphans, stray

    def check_end(self, wanted: tuple[str, ...], *, standby: bool) -> None:
        """What must hold once nothing is in the way any more and enough time has passed."""
        pairs = [there for record in self.store.keys.list() for there in record.placements if there.is_imported]
        pairs = [p for p in pairs if p.account_region.region in wanted or (p.key_id, p.account_region.region) not in self.taken]
        assert {there.arn for there in pairs} == {pair["arn"] for pair in self.ours()}, "store and IVS agree"
        assert not self.store.journal.open_entries(), self.store.journal.open_entries()
        assert not [p for p in pairs if p.state is KeyState.COMPROMISED or p.deleting_at is not None]
        for region in wanted:
            held = [there for there in pairs if there.account_region.region == region]
            [active] = [there for there in held if there.state is KeyState.ACTIVE]
            assert self.groups[0].current[region].key_id == active.key_id, "and a worker signs with it"
            ready = any(there.state is KeyState.PREPARED for there in held)
            full = sum(region_of(arn) == region for arn in self.ivs.pairs) == 3
            assert ready or full or not standby

    def _check_store(self) -> None:
        kept, records = self.vault.key_ids(), self.store.keys.list()
        self.compromised = {record.id for record in records if record.compromised_at is not None}
        for region in REGIONS:
            here = [there for record in records for there in record.placements if there.account_region.region == region]
            active = [there.key_id for there in here if there.state is KeyState.ACTIVE]
            assert len(active) <= 1
            assert kept.issuperset(active), "the private half of an active key is lost"
        for group in self.groups:
            assert not self.compromised & {key.key_id for key in group.current.values()}, (
                "a worker has heard and goes on"
            )
        assert self.foreign <= self.ivs.pairs.keys(), "a pair of others is gone"

    def _must_not_be_missed(self, pair: dict[str, Any]) -> None:
        assert pair["tags"].get(DEPLOYMENT_TAG) == self.deployment_id, "a pair of others is deleted"
        self.sign()
        where = (pair["tags"][KEY_TAG], region_of(pair["arn"]))
        if where[0] not in self.compromised and where not in self.taken:
            lives = self.ends.get(where, 0.0) - self.clock.now()
            assert lives <= 0, f"{where} goes {lives} seconds before its last token ends"

    def _sleep(self, seconds: float) -> None:
        self.pass_time(seconds)


def region_of(arn: str) -> str:
    return arn.split(":")[3]


def _signing(snapshot: Snapshot) -> dict[str, Signing]:
    return {
        place.region: Signing(key.key_id, min(snapshot.max_ttl_seconds, key.longest_ttl_seconds), key.not_after)
        for place, slot in snapshot.keyring.region_keys.items()
        if (key := slot.active) is not None
    }
