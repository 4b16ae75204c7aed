"""Keeps a worker's snapshot fresh: asks the store what changed, reads only that, swaps the whole.

Rules of the file
- One small query a second; a part is read again only when its version number rose.
- The snapshot's age counts from the beginning of the refresh that made it, on the monotonic clock. What is new
  counts at once; the age is that of a refresh that also took in every denial.
- Of channels only those that exist are in a snapshot: what callers invent takes no room. Rows of channels that are gone
  are deleted some time after every worker could read them; one that did not read for long reads all of them anew.
- A private key is opened once and prepared once, when its key becomes active. What cannot be opened is told as trouble
  in that slot and spoils no other; meanwhile the retiring key signs there, as long as it safely may.
- The subject key is opened once too. So a worker that runs needs neither vault nor KMS until there is a new key.
- Before anything is read on from where it was, the store says that what was read is part of its history. If it is not,
  the store was replaced, and everything is read anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tokensvc.aws.arn import AccountRegion
from tokensvc.background.changes import NO_VERSIONS_READ, log_replacement
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.callers.api_keys import KnownSecret
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.callers.store import CallerRecord, CallerStore
from tokensvc.clock import CLOCK_SKEW_SECONDS, Clock
from tokensvc.deployment.record import DeploymentStore
from tokensvc.deployment.versions import Position, StoreVersions, Versions
from tokensvc.errors import InvalidKey, StoreReplaced, SubjectKeyLost, VaultError
from tokensvc.jose import keypair
from tokensvc.jose.es384 import PreparedKey
from tokensvc.jose.keypair import PublicKey
from tokensvc.jose.signing.signer import Signer
from tokensvc.keys.lifecycle import ACCEPTED_STATES, KeyPlacement, KeyRecord, KeyState
from tokensvc.keys.private_keys import open_private_key
from tokensvc.keys.store import KeyStore
from tokensvc.log import structlog
from tokensvc.tokens.channels import FULL_RELOAD_AFTER_SECONDS, ChannelStore
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey, retiring_key_not_after
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.tokens.viewer_ids import ViewerIdResolver
from tokensvc.vault.store import Vault

INTERVAL_SECONDS = 0.8
"""A change is seen by every worker within two seconds; this leaves room for a slow answer."""

MAX_DAMAGED_LISTED = 10
"""So many channels, and denials, that cannot be read are named; the others are counted."""

_CHANNELS_PAGE_SIZE = 1000
_log = structlog.get_logger(__name__)


class SnapshotHolder:
    """The snapshot that a worker acts on at the moment: `Refresh` replaces it whole, everybody else reads it.

    It is made before whatever reads it, and empty until the first refresh.
    """

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = Snapshot()

    def read(self) -> Snapshot:
        """The present snapshot; it never changes, so that a request reads it once and keeps it."""
        return self.current


@dataclass(kw_only=True)
class Refresh:
    """The one writer of a worker's snapshot."""

    versions: Versions
    deployment: DeploymentStore
    keys: KeyStore
    callers: CallerStore
    channels: ChannelStore
    denials: DenylistSync
    vault: Vault
    subjects: ViewerIdResolver
    signer: Signer[Any]
    clock: Clock
    max_staleness_seconds: float
    """R: the longest that any worker can act on old news."""
    snapshots: SnapshotHolder = field(default_factory=SnapshotHolder)
    """Where the snapshot is put."""
    loaded_versions: StoreVersions = NO_VERSIONS_READ
    """The versions that `current` is made of."""
    on_replacement: Callable[[], None] = lambda: None
    """Called in the refresh's thread when the store was replaced, before anything is read from it."""
    _channels_position: Position = field(default_factory=Position)
    _channels_read_at: float = -math.inf
    """When the last refresh began that read every change of channels, on the monotonic clock."""
    _prepared: dict[tuple[str, bytes], PreparedKey] = field(default_factory=dict)
    """By key id and public half: in a restored store an id may stand for another key."""
    _damage: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By part, the rows that cannot be read, in words."""
    _damaged_channels: dict[str, str] = field(default_factory=dict)
    _undecryptable: dict[str, str] = field(default_factory=dict)
    """By key id, why it could not be opened when it was last tried."""

    @property
    def current(self) -> Snapshot:
        """The snapshot as the last refresh left it."""
        return self.snapshots.current

    @current.setter
    def current(self, snapshot: Snapshot) -> None:
        self.snapshots.current = snapshot

    def run_once(self) -> None:
        """Bring `current` up to date. Raises StoreError, and then `current` is as old as it was."""
        try:
            self._advance()
        except StoreReplaced as replaced:
            log_replacement(replaced)
            self._start_over()
            self._advance()

    def _start_over(self) -> None:
        """Take nothing for known, so that everything is read anew. `current` stays until its successor is complete."""
        self.loaded_versions, self._channels_position = NO_VERSIONS_READ, Position()
        self.denials.reset()
        self.on_replacement()

    def _advance(self) -> None:
        began_at, before = self.clock.monotonic(), self.clock.now()
        versions = self.versions.read()
        # By the monotonic clock: if the wall clock jumps meanwhile, that is no part of what the store has confirmed.
        after = before + self.clock.monotonic() - began_at
        if versions[1:] != self.loaded_versions[1:]:
            self.versions.check_history(
                self.loaded_versions.by_name()
                | {"channels": self._channels_position.history, "denials": self.denials.position.history}
            )
        snapshot = self.current
        # What is damaged is read again each time, since a row that is repaired by hand raises no version.
        if versions.deployment != self.loaded_versions.deployment or self._damage.get("deployment"):
            deployment = self.deployment.read()
            subject_key, lost = self._subject_key()
            snapshot = snapshot._replace(max_ttl_seconds=deployment.max_ttl_seconds, subject_key=subject_key)
            self._damage["deployment"] = tuple(words for words in (deployment.damage, lost) if words)
        is_troubled = self._damage.get("keys") or any(slot.problems for slot in snapshot.keyring.region_keys.values())
        if versions.keys != self.loaded_versions.keys or is_troubled:
            records = self.keys.list()
            snapshot = snapshot._replace(keyring=self._ring(records))
            self._damage["keys"] = tuple(f"key {r.id} cannot be read: {r.damage}" for r in records if r.damage)
        if versions.callers != self.loaded_versions.callers or self._damage.get("callers"):
            callers = self.callers.list()
            snapshot = snapshot._replace(secrets=_secrets(callers))
            self._damage["callers"] = tuple(problem for record in callers for problem in record.problems())
        position = self._channels_position
        if began_at - self._channels_read_at > FULL_RELOAD_AFTER_SECONDS:
            position = Position()
        if versions.channels != position.history or position.number < versions.channels.number:
            channels, position = self._channels(snapshot, position)
            snapshot = snapshot._replace(channels=channels)
        self.current, self._channels_position, self._channels_read_at = snapshot, position, began_at
        self.loaded_versions = versions
        self.denials.catch_up(versions)
        self._damage["channels"] = _in_words("channel", self._damaged_channels)
        self._damage["denials"] = _in_words("denial", self.denials.damaged)
        self.current = snapshot._replace(
            denylist=self.denials.denylist,
            damage=self._log_damage(snapshot.damage),
            refresh_started_at=began_at,
            clock_error_seconds=_outside(versions.now, before, after),
            wall_offset_seconds=before - began_at,
        )

    def _subject_key(self) -> tuple[bytes, str]:
        """The newest subject key; the first worker of a new store makes it, by compare-and-set. Nothing, and why, when
        the store has lost it: what needs no subject goes on."""
        try:
            return self.subjects.newest_key(), ""
        except SubjectKeyLost as lost:
            return b"", lost.message

    def _ring(self, records: list[KeyRecord]) -> Keyring:
        here: dict[AccountRegion, list[tuple[KeyRecord, KeyPlacement]]] = {}
        damaged: dict[AccountRegion, list[str]] = {}
        for record in records:
            for there in record.placements:
                here.setdefault(there.account_region, []).append((record, there))
            for unreadable in record.unreadable:
                here.setdefault(unreadable.account_region, [])
                damaged.setdefault(unreadable.account_region, []).extend([record.id] if unreadable.is_imported else [])
        undecryptable: dict[str, str] = {}
        slots = {place: self._slot(keys, undecryptable, damaged.get(place, ())) for place, keys in here.items()}
        signing = {slot.active.key_id for slot in slots.values() if slot.active}
        self._prepared = {key: prepared for key, prepared in self._prepared.items() if key[0] in signing}
        self._tell(undecryptable)
        return Keyring(slots, frozenset(undecryptable))

    def _slot(
        self, keys: list[tuple[KeyRecord, KeyPlacement]], undecryptable: dict[str, str], damaged: Sequence[str]
    ) -> RegionKeys:
        """The keys of a place; which of them could not be opened goes into `undecryptable`, with the reason. Where no
        key is known to be active, it may be one of the `damaged`."""
        accepted = _verification_keys([record for record, there in keys if there.state in ACCEPTED_STATES])
        active = next(((r, there) for r, there in keys if there.state is KeyState.ACTIVE), None)
        if active is None and not damaged:
            return RegionKeys(None, accepted)
        if active is None:
            trouble = f"no key is known to be active, and the store's record of {', '.join(damaged)} cannot be read"
        elif key := self._signing_key(*active, undecryptable):
            return RegionKeys(key, accepted)
        else:
            trouble = f"the active key {active[0].id} cannot be opened by this worker"
        for record, there in self._in_its_stead(keys):
            if key := self._signing_key(record, there, undecryptable):
                until = datetime.fromtimestamp(key.not_after, UTC).isoformat(timespec="seconds")
                return RegionKeys(
                    key, accepted, problems=f"{trouble}; the retiring key {record.id} signs until {until}"
                )
        return RegionKeys(None, accepted, problems=trouble)

    def _in_its_stead(self, keys: list[tuple[KeyRecord, KeyPlacement]]) -> list[tuple[KeyRecord, KeyPlacement]]:
        """The retiring keys that may still sign, the newest first."""
        now = self.clock.now()
        retiring = [(r, t) for r, t in keys if t.state is KeyState.RETIRING and t.activated_at and not t.deleting_at]
        retiring = [(r, t) for r, t in retiring if self._not_after(t) >= now]
        return sorted(retiring, key=lambda pair: pair[1].activated_at or pair[1].imported_at, reverse=True)

    def _not_after(self, there: KeyPlacement) -> float:
        if there.state is KeyState.ACTIVE or there.retiring_at is None:
            return math.inf
        return retiring_key_not_after(there.retiring_at, self.max_staleness_seconds, CLOCK_SKEW_SECONDS)

    def _signing_key(self, record: KeyRecord, there: KeyPlacement, undecryptable: dict[str, str]) -> SigningKey | None:
        if record.id in undecryptable:  # in another place of this ring
            return None
        identity = (record.id, record.public_der)
        try:
            if identity not in self._prepared:
                self._prepared[identity] = self._prepare(record)
        except VaultError as problem:
            undecryptable[record.id] = problem.message
            return None
        prepared, longest = self._prepared[identity], there.longest_ttl_seconds
        return SigningKey(record.id, prepared, longest, there.activated_at, self._not_after(there))

    def _tell(self, undecryptable: dict[str, str]) -> None:
        """Once for each change, not each second."""
        for key_id, problem in undecryptable.items():
            if self._undecryptable.get(key_id) != problem:
                _log.error("a key that should sign cannot be opened", key_id=key_id, problem=problem)
        for key_id in self._undecryptable.keys() - undecryptable.keys():
            _log.info("a key that could not be opened is no longer in the way", key_id=key_id)
        self._undecryptable = undecryptable

    def _prepare(self, record: KeyRecord) -> PreparedKey:
        prepared: PreparedKey = self.signer.prepare(open_private_key(self.vault, record))
        return prepared

    def _channels(self, snapshot: Snapshot, position: Position) -> tuple[dict[str, KnownChannel], Position]:
        """All channels that exist, and how far they are read; the store may fail between two pages."""
        channels: dict[str, KnownChannel] = dict(snapshot.channels) if position.number else {}
        damaged: dict[str, str] = dict(self._damaged_channels) if position.number else {}
        while True:
            page = self.channels.changed_since(position, _CHANNELS_PAGE_SIZE)
            for row in page.rows:
                if row.playback_url is None:
                    channels.pop(row.arn, None)
                else:
                    channels[row.arn] = KnownChannel(row.playback_url, row.authorized, row.checked_at)
                damaged.pop(row.arn, None)
            for arn in page.damaged:
                channels.pop(arn, None)
            damaged |= page.damaged
            position = page.position
            if page.is_last:
                self._damaged_channels = damaged
                return channels, position

    def _log_damage(self, before: tuple[str, ...]) -> tuple[str, ...]:
        """What cannot be read by now, each in words; logged once."""
        now = tuple(words for part in self._damage.values() for words in part)
        for words in sorted(set(now) - set(before)):
            _log.error("a row of the store cannot be read, and is left out", row=words)
        for words in sorted(set(before) - set(now)):
            _log.info("a row of the store that could not be read is sound or gone", row=words)
        return now


def _verification_keys(records: list[KeyRecord]) -> dict[str, PublicKey]:
    accepted = {}
    for record in records:
        try:
            accepted[record.id] = keypair.read_public_der(record.public_der)
        except InvalidKey as problem:
            _log.error("a public half in the store cannot be read", key_id=record.id, problem=problem.message)
    return accepted


def _secrets(records: list[CallerRecord]) -> dict[str, KnownSecret]:
    """Callers with equal policies share one: of thousands of callers, what each token reads is then still near."""
    shared: dict[CallerPolicy, CallerPolicy] = {}
    return {
        secret.key_id: KnownSecret(
            secret.digest, secret.expires_at, Caller(record.name, shared.setdefault(record.policy, record.policy))
        )
        for record in records
        if record.disabled_at is None and not record.damage
        for secret in record.secrets
    }


def _in_words(kind: str, damaged: Mapping[str, str]) -> tuple[str, ...]:
    """The first few of them, for they may be many."""
    words = [f"{kind} {name} cannot be read: {why}" for name, why in sorted(damaged.items())]
    more = [f"{len(words) - MAX_DAMAGED_LISTED} more {kind}s cannot be read"] if len(words) > MAX_DAMAGED_LISTED else []
    return tuple(words[:MAX_DAMAGED_LISTED] + more)


def _outside(store: float, before: float, after: float) -> float:
    """How far our clock is ahead of the store's (negative: behind), given that the store answered in between."""
    return before - store if before > store else min(after - store, 0.0)
