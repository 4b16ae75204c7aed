"""A deployment with signing workers, checked at every moment of any history it goes through.

Invariants
- Workers are real refreshes. For each state that the store was ever in, one worker read it just before it changed and
  uses it for max_staleness; and some workers cannot decrypt every second key, so they sign with a retiring one.
- A ledger records, by key and region, when the last token that any of them could have signed expires.
- Nothing here knows the rules of the lifecycle: it only checks what workers sign, what IVS holds, and what is stored.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.crashes import CrashPoint, crash
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.keks import CIPHER
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
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver
from tokensvc.vault.store import Vault

REGIONS = (EAST, WEST)


class WatchedIvs(SimulatedIvs):
    """IVS that calls a hook before it deletes a key pair."""

    def __init__(self) -> None:
        super().__init__()
        self.on_delete: Callable[[dict[str, Any]], None] = lambda pair: None

    def _DeletePlaybackKeyPair(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        if request["arn"] in self.pairs:
            self.on_delete(self.pairs[request["arn"]])
        return super()._DeletePlaybackKeyPair(region, request)


class Signing(NamedTuple):
    """A worker's signing key in a region."""

    key_id: str
    ttl_seconds: int
    not_after: float


class PartlyUndecryptableVault:
    """A vault in which every second key cannot be decrypted."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def load(self, key_id: str) -> PrivateKey:
        if int(key_id[1:]) % 2:
            raise PrivateKeyMissing(f"key {key_id} is not readable here")
        return self._vault.load(key_id)


class Workers:
    """All workers with the same vault: one in sync, and stale ones for up to max_staleness."""

    def __init__(self, deployment: InMemoryDeployment, vault: Any) -> None:
        store = deployment.store
        self._clock = deployment.clock
        self._max_staleness_seconds = deployment.policy.max_staleness_seconds
        self._refresh = Refresh(
            versions=store.versions,
            deployment=store.deployment,
            keys=store.keys,
            callers=store.callers,
            channels=store.channels,
            denials=DenylistSync(store.denials),
            vault=vault,
            subjects=ViewerIdResolver(store.deployment, lambda: CIPHER),
            signer=OpenSslSigner(),
            clock=self._clock,
            max_staleness_seconds=self._max_staleness_seconds,
        )
        self.current: dict[str, Signing] = {}
        self.stale: list[tuple[dict[str, Signing], float]] = []

    def refresh(self) -> None:
        """Refresh from the store; a worker suspended just before keeps its outdated snapshot."""
        self._refresh.run_once()
        signing = _signing(self._refresh.current)
        if signing != self.current:
            self.stale.append((self.current, self._clock.now() + self._max_staleness_seconds))
            self.current = signing
        self.stale = [(signing, last) for signing, last in self.stale if last >= self._clock.now()]

    def all(self) -> list[tuple[dict[str, Signing], float]]:
        """The signing keys of each worker, and until when it uses them."""
        return [(self.current, math.inf), *self.stale]


class History(InMemoryDeployment):
    """A deployment whose every effect is checked."""

    def __init__(self, migrated: Path) -> None:
        self._watched_ivs = WatchedIvs()
        super().__init__(migrated, None, POLICY, ivs=self._watched_ivs)
        self._watched_ivs.on_delete = self._check_deletable
        self.groups = [Workers(self, self.vault), Workers(self, PartlyUndecryptableVault(self.vault))]
        self.token_ends: dict[tuple[str, str], float] = {}
        """By key and region, when the last token that may have been signed there expires."""
        self.manually_deleted: set[tuple[str, str]] = set()
        """Keys whose key pair was deleted manually, with the region."""
        self.compromised: set[str] = set()
        self.foreign: set[str] = set()
        self.unrecorded: set[str] = set()
        """Key pairs with our tag that a restore removed from the store, whether it has their keys or not."""
        self.has_backup = self.was_restored = False
        self.deployment_id = self.store.deployment.read().id
        self._backup = Path(tempfile.mkdtemp()) / "backup.db"
        self._signed_until = self.clock.now()
        self._seen: StoreVersions | None = None
        self.refresh()

    def crash_point(
        self, at: int | None = None, *, after: bool = False, callback: Callable[[], None] = crash
    ) -> CrashPoint:
        """As `CrashPoint`; workers refresh after each effect."""
        return CrashPoint(at, after=after, callback=callback, after_each=self.refresh)

    def refresh(self) -> None:
        """After a possible change: every worker that can refreshes, and the invariants are checked."""
        versions = self.store.versions.read()._replace(now=0)
        if versions != self._seen:
            self._seen = versions
            for group in self.groups:
                group.refresh()
            self._check_store()
        self.sign()

    def sign(self) -> None:
        """Assume that all workers have signed since the last call, with the longest lifetime."""
        since, self._signed_until = self._signed_until, self.clock.now()
        held_keys = {(pair["tags"][KEY_TAG], region_of(pair["arn"])) for pair in self.our_pairs()}
        for group in self.groups:
            for signing, last in group.all():
                for region, key in signing.items():
                    at = min(self.clock.now(), last, key.not_after)
                    signer = (key.key_id, region)
                    if at < since:
                        continue
                    assert signer in held_keys | self.manually_deleted or key.key_id in self.compromised, (
                        f"{signer} signs but IVS does not hold it"
                    )
                    self.token_ends[signer] = max(self.token_ends.get(signer, 0.0), at + key.ttl_seconds)

    def our_pairs(self) -> list[dict[str, Any]]:
        """Our key pairs in IVS."""
        return self.ivs.tagged(DEPLOYMENT_TAG, self.deployment_id)

    def advance_clock(self, seconds: float) -> None:
        """Advance the clock; every worker that may sign does."""
        self.clock.advance(seconds)
        self.refresh()

    def delete_manually(self, pair: dict[str, Any]) -> None:
        """Delete one of our key pairs manually."""
        self.manually_deleted.add((pair["tags"][KEY_TAG], region_of(pair["arn"])))
        del self.ivs.pairs[pair["arn"]]

    def back_up(self) -> None:
        """Back up the store."""
        save(self.store, self._backup)
        self.has_backup = True

    def restore(self) -> None:
        """Restore the backup. Key pairs that the store has and IVS does not count as deleted manually. Tokens of the
        lost period are not protected: the store cannot know which keys signed them. For workers that have not refreshed
        since, see `_is_protected`."""
        restore(self.store, self._backup)
        self.was_restored = True
        known, held = {record.id for record in self.store.keys.list()}, {pair["arn"] for pair in self.our_pairs()}
        self.unrecorded = {pair["arn"] for pair in self.our_pairs()} - self._recorded()
        signing_ids = {key.key_id for group in self.groups for signing, _ in group.all() for key in signing.values()}
        self.manually_deleted |= {(key_id, region) for key_id in signing_ids | known for region in REGIONS} - {
            (pair["tags"][KEY_TAG], region_of(pair["arn"])) for pair in self.our_pairs() if pair["arn"] in held
        }
        self.token_ends.clear()
        ceiling = self.store.deployment.read().max_ttl_seconds
        for group in self.groups:
            group.stale.clear()
            group.current = {
                region: key._replace(ttl_seconds=min(key.ttl_seconds, ceiling))
                for region, key in group.current.items()
                if self._is_protected(key.key_id, region)
            }
        self._seen = None  # every worker reloads the store, even if it has not changed since the backup

    def _is_protected(self, key_id: str, region: str) -> bool:
        """Whether the tokens that a worker signs before it reads the restored store are guaranteed to play.

        They are not where the restored store wrongly has the key as never active there, or as retired: while IVS holds
        the key that should be active there, this cannot be detected. (tests/keys/test_restored.py covers the cases in
        which it can, and the tokens are protected.) A key that the store does not have is detected in IVS. Lifetimes
        longer than the restored store allows do not count.
        """
        placements = [
            placement for record in self.store.keys.list() if record.id == key_id for placement in record.placements
        ]
        return all(
            placement.state is KeyState.ACTIVE for placement in placements if placement.account_region.region == region
        )

    def left_for_operators(self, configured: tuple[str, ...]) -> set[str]:
        """Key pairs that no reconciler deletes: those of keys that are not in the store, and those that a restore
        removed from it in a region that is no longer configured, which the reconciler does not check."""
        unseen = {arn for arn in self.unrecorded - self._recorded() if region_of(arn) not in configured}
        return (self._orphaned() | unseen) & self.ivs.pairs.keys()

    def _orphaned(self) -> set[str]:
        """Key pairs with our tag whose keys a restore removed from the store, which nothing else does."""
        if not self.was_restored:
            return set()
        known = {record.id for record in self.store.keys.list()}
        return {pair["arn"] for pair in self.our_pairs() if pair["tags"][KEY_TAG] not in known}

    def _recorded(self) -> set[str]:
        return {placement.arn for record in self.store.keys.list() for placement in record.all_placements}

    def check_no_orphan(self, region: str) -> None:
        """Check that every key pair with our tag is in the store."""
        known = {
            placement.arn
            for record in self.store.keys.list()
            for placement in record.placements
            if placement.is_imported
        }
        tagged = {pair["arn"]: pair["tags"] for pair in self.our_pairs() if region_of(pair["arn"]) == region}
        assert tagged.keys() <= known | self._orphaned(), tagged

    def check_final_state(self, configured: tuple[str, ...], *, standby: bool) -> None:
        """Check what must hold once nothing blocks rotation any more and enough time has passed."""
        pairs = [
            placement for record in self.store.keys.list() for placement in record.placements if placement.is_imported
        ]
        pairs = [
            p
            for p in pairs
            if p.account_region.region in configured or (p.key_id, p.account_region.region) not in self.manually_deleted
        ]
        assert {placement.arn for placement in pairs} == {pair["arn"] for pair in self.our_pairs()}, (
            "store and IVS disagree"
        )
        assert not self.store.journal.open_entries(), self.store.journal.open_entries()
        assert not [p for p in pairs if p.state is KeyState.COMPROMISED or p.deleting_at is not None]
        for region in configured:
            held = [placement for placement in pairs if placement.account_region.region == region]
            [active] = [placement for placement in held if placement.state is KeyState.ACTIVE]
            assert self.groups[0].current[region].key_id == active.key_id, "a worker in sync signs with another key"
            ready = any(placement.state is KeyState.PREPARED for placement in held)
            full = sum(region_of(arn) == region for arn in self.ivs.pairs) == 3
            assert ready or full or not standby

    def _check_store(self) -> None:
        vault_keys, records = self.vault.key_ids(), self.store.keys.list()
        self.compromised = {record.id for record in records if record.compromised_at is not None}
        for region in REGIONS:
            here = [
                placement
                for record in records
                for placement in record.placements
                if placement.account_region.region == region
            ]
            active = [placement.key_id for placement in here if placement.state is KeyState.ACTIVE]
            assert len(active) <= 1
            assert vault_keys.issuperset(active), "the private key of an active key is lost"
        for group in self.groups:
            assert not self.compromised & {key.key_id for key in group.current.values()}, (
                "a worker in sync continues to sign"
            )
        assert self.foreign <= self.ivs.pairs.keys(), "a foreign key pair was deleted"

    def _check_deletable(self, pair: dict[str, Any]) -> None:
        assert pair["tags"].get(DEPLOYMENT_TAG) == self.deployment_id, "a foreign key pair is deleted"
        self.sign()
        deleted = (pair["tags"][KEY_TAG], region_of(pair["arn"]))
        if deleted[0] not in self.compromised and deleted not in self.manually_deleted:
            remaining = self.token_ends.get(deleted, 0.0) - self.clock.now()
            assert remaining <= 0, f"{deleted} is deleted {remaining} seconds before its last token expires"

    def _sleep(self, seconds: float) -> None:
        self.advance_clock(seconds)


def region_of(arn: str) -> str:
    return arn.split(":")[3]


def _signing(snapshot: Snapshot) -> dict[str, Signing]:
    return {
        account_region.region: Signing(
            key.key_id, min(snapshot.max_ttl_seconds, key.longest_ttl_seconds), key.not_after
        )
        for account_region, region_keys in snapshot.keyring.region_keys.items()
        if (key := region_keys.active) is not None
    }
