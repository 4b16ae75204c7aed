"""Keeps a worker's snapshot fresh: reads from the store what changed, and replaces the snapshot as a whole.

Invariants
- One small query a second; a part is read again only when its version changed.
- The snapshot's age is measured from the start of the refresh that made it, on the monotonic clock. New contents take
  effect immediately; the age is that of the last refresh that also read every denial.
- A snapshot holds only channels that exist, so names that callers invent take no memory. Rows of channels that no
  longer exist are deleted some time after every worker could read them; a worker that has not read for longer reloads
  all.
- A private key is decrypted once and prepared once, when its key becomes active. A key that cannot be decrypted is
  reported for its own account and region and affects no other; meanwhile the retiring key signs there, for as long as
  that is safe.
- The subject key is decrypted once too, so a running worker needs neither vault nor KMS until there is a new key.
- Before a worker reads on, the store confirms that what it has read is part of the store's history. Otherwise the store
  was replaced, and everything is reloaded.
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
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey, WithdrawnKey, retiring_key_not_after
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver
from tokensvc.vault.store import Vault

INTERVAL_SECONDS = 0.8
"""Every worker sees a change within two seconds; this interval leaves room for a slow response of the store."""

MAX_DAMAGED_LISTED = 10
"""How many channels, and how many denials, that cannot be read are listed; the others are counted."""

_CHANNELS_PAGE_SIZE = 1000
_log = structlog.get_logger(__name__)


class SnapshotHolder:
    """Holds a worker's current snapshot: `Refresh` replaces it, everything else reads it.

    It is created before its readers, and empty until the first refresh.
    """

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = Snapshot()

    def read(self) -> Snapshot:
        """The current snapshot. It is immutable: a request reads it once and keeps using it."""
        return self.current


@dataclass(kw_only=True)
class Refresh:
    """The only writer of a worker's snapshot."""

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
    """The longest that any worker may act on an outdated snapshot."""
    snapshots: SnapshotHolder = field(default_factory=SnapshotHolder)
    """Receives the new snapshots."""
    loaded_versions: StoreVersions = NO_VERSIONS_READ
    """The versions that `current` is made of."""
    on_replacement: Callable[[], None] = lambda: None
    """Called in the refresh's thread when the store was replaced, before anything is read from it."""
    _channels_position: Position = field(default_factory=Position)
    _channels_read_at: float = -math.inf
    """When the last refresh that read every change of channels started, on the monotonic clock."""
    _prepared: dict[tuple[str, bytes], PreparedKey] = field(default_factory=dict)
    """By key id and public key: in a restored store an id may stand for another key."""
    _damage: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By part of the snapshot, a description of each row that cannot be read."""
    _damaged_channels: dict[str, str] = field(default_factory=dict)
    _undecryptable: dict[str, str] = field(default_factory=dict)
    """By key id, why it could not be decrypted at the last attempt."""

    @property
    def current(self) -> Snapshot:
        """The snapshot as the last refresh left it."""
        return self.snapshots.current

    @current.setter
    def current(self, snapshot: Snapshot) -> None:
        self.snapshots.current = snapshot

    def run_once(self) -> None:
        """Bring `current` up to date. Raises StoreError; `current` keeps its age then."""
        try:
            self._load_changes()
        except StoreReplaced as replaced:
            log_replacement(replaced)
            self._reset()
            self._load_changes()

    def _reset(self) -> None:
        """Discard what is known of the store, so that everything is reloaded. `current` stays in use until its
        successor is complete."""
        self.loaded_versions, self._channels_position = NO_VERSIONS_READ, Position()
        self.denials.reset()
        self.on_replacement()

    def _load_changes(self) -> None:
        started_at, before = self.clock.monotonic(), self.clock.now()
        versions = self.versions.read()
        # By the monotonic clock: the store has not confirmed a jump of the wall clock during the query.
        after = before + self.clock.monotonic() - started_at
        if versions[1:] != self.loaded_versions[1:]:
            self.versions.check_history(
                self.loaded_versions.by_name()
                | {"channels": self._channels_position.history, "denials": self.denials.position.history}
            )
        snapshot = self.current
        # Damaged rows are read again each time, because a row that is repaired by hand does not change the version.
        if versions.deployment != self.loaded_versions.deployment or self._damage.get("deployment"):
            deployment = self.deployment.read()
            subject_key, lost = self._load_subject_key()
            snapshot = snapshot._replace(max_ttl_seconds=deployment.max_ttl_seconds, subject_key=subject_key)
            self._damage["deployment"] = tuple(description for description in (deployment.damage, lost) if description)
        region_keys = snapshot.keyring.region_keys.values()
        has_problems = self._damage.get("keys") or any(entry.problem for entry in region_keys)
        if versions.keys != self.loaded_versions.keys or has_problems:
            records = self.keys.list()
            snapshot = snapshot._replace(keyring=self._load_keyring(records))
            self._damage["keys"] = tuple(f"key {r.id} cannot be read: {r.damage}" for r in records if r.damage)
        if versions.callers != self.loaded_versions.callers or self._damage.get("callers"):
            callers = self.callers.list()
            snapshot = snapshot._replace(
                secrets=_secrets(callers), bearers=_bearers(callers), cors_origins=_cors_origins(callers)
            )
            self._damage["callers"] = tuple(error for record in callers for error in record.problems())
        position = self._channels_position
        if started_at - self._channels_read_at > FULL_RELOAD_AFTER_SECONDS:
            position = Position()
        if versions.channels != position.history or position.number < versions.channels.number:
            channels, position = self._load_channels(snapshot, position)
            snapshot = snapshot._replace(channels=channels)
        self.current, self._channels_position, self._channels_read_at = snapshot, position, started_at
        self.loaded_versions = versions
        self.denials.catch_up(versions)
        self._damage["channels"] = _describe_damaged("channel", self._damaged_channels)
        self._damage["denials"] = _describe_damaged("denial", self.denials.damaged)
        self.current = snapshot._replace(
            denylist=self.denials.denylist,
            damage=self._log_damage(snapshot.damage),
            refresh_started_at=started_at,
            clock_error_seconds=_clock_error(versions.now, before, after),
            wall_offset_seconds=before - started_at,
        )

    def _load_subject_key(self) -> tuple[bytes, str]:
        """The newest subject key, which the first worker of a new store creates, by compare-and-set; or no key and the
        reason when the store has lost it, so that tokens without a subject are still issued."""
        try:
            return self.subjects.newest_key(), ""
        except SubjectKeyLost as lost:
            return b"", lost.message

    def _load_keyring(self, records: list[KeyRecord]) -> Keyring:
        by_account_region: dict[AccountRegion, list[tuple[KeyRecord, KeyPlacement]]] = {}
        damaged: dict[AccountRegion, list[str]] = {}
        for record in records:
            for placement in record.placements:
                by_account_region.setdefault(placement.account_region, []).append((record, placement))
            for unreadable in record.unreadable:
                by_account_region.setdefault(unreadable.account_region, [])
                damaged.setdefault(unreadable.account_region, []).extend([record.id] if unreadable.is_imported else [])
        undecryptable: dict[str, str] = {}
        entries = {
            account_region: self._region_keys(keys, undecryptable, damaged.get(account_region, ()))
            for account_region, keys in by_account_region.items()
        }
        active_ids = {entry.active.key_id for entry in entries.values() if entry.active}
        self._prepared = {key: prepared for key, prepared in self._prepared.items() if key[0] in active_ids}
        self._log_undecryptable(undecryptable)
        return Keyring(entries, frozenset(undecryptable))

    def _region_keys(
        self, keys: list[tuple[KeyRecord, KeyPlacement]], undecryptable: dict[str, str], damaged: Sequence[str]
    ) -> RegionKeys:
        """The keys of one account and region. Adds those that cannot be decrypted to `undecryptable`, with the reason.
        Where no key is known to be active, the active one may be one of the `damaged`."""
        public_keys = _public_keys([record for record, _ in keys])
        accepted = {record.id for record, placement in keys if placement.state in ACCEPTED_STATES}
        verification_keys = {key_id: public for key_id, public in public_keys.items() if key_id in accepted}
        withdrawn_keys = {
            record.id: WithdrawnKey(
                public_keys[record.id], placement.state is KeyState.COMPROMISED, placement.is_imported
            )
            for record, placement in keys
            if record.id in public_keys and record.id not in accepted
        }
        active = next(((r, placement) for r, placement in keys if placement.state is KeyState.ACTIVE), None)
        if active is None and not damaged:
            return RegionKeys(None, verification_keys, withdrawn_keys=withdrawn_keys)
        if active is None:
            problem_text = f"no active key is known, and the store's record of {', '.join(damaged)} cannot be read"
        elif key := self._signing_key(*active, undecryptable):
            return RegionKeys(key, verification_keys, withdrawn_keys=withdrawn_keys)
        else:
            problem_text = f"this worker cannot decrypt the active key {active[0].id}"
        for record, placement in self._usable_retiring_keys(keys):
            if key := self._signing_key(record, placement, undecryptable):
                until = datetime.fromtimestamp(key.not_after, UTC).isoformat(timespec="seconds")
                problem_text = f"{problem_text}; the retiring key {record.id} signs until {until}"
                return RegionKeys(key, verification_keys, problem_text, withdrawn_keys)
        return RegionKeys(None, verification_keys, problem_text, withdrawn_keys)

    def _usable_retiring_keys(self, keys: list[tuple[KeyRecord, KeyPlacement]]) -> list[tuple[KeyRecord, KeyPlacement]]:
        """The retiring keys that may still sign, newest first."""
        now = self.clock.now()
        retiring = [(r, t) for r, t in keys if t.state is KeyState.RETIRING and t.activated_at and not t.deleting_at]
        retiring = [(r, t) for r, t in retiring if self._not_after(t) >= now]
        return sorted(retiring, key=lambda pair: pair[1].activated_at or pair[1].imported_at, reverse=True)

    def _not_after(self, placement: KeyPlacement) -> float:
        if placement.state is KeyState.ACTIVE or placement.retiring_at is None:
            return math.inf
        return retiring_key_not_after(placement.retiring_at, self.max_staleness_seconds, CLOCK_SKEW_SECONDS)

    def _signing_key(
        self, record: KeyRecord, placement: KeyPlacement, undecryptable: dict[str, str]
    ) -> SigningKey | None:
        if record.id in undecryptable:  # from another account and region of this keyring
            return None
        identity = (record.id, record.public_der)
        try:
            if identity not in self._prepared:
                self._prepared[identity] = self._prepare(record)
        except VaultError as error:
            undecryptable[record.id] = error.message
            return None
        prepared, longest = self._prepared[identity], placement.longest_ttl_seconds
        return SigningKey(record.id, prepared, longest, placement.activated_at, self._not_after(placement))

    def _log_undecryptable(self, undecryptable: dict[str, str]) -> None:
        """Log what changed, not every refresh."""
        for key_id, error in undecryptable.items():
            if self._undecryptable.get(key_id) != error:
                _log.error("signing key cannot be decrypted", key_id=key_id, error=error)
        for key_id in self._undecryptable.keys() - undecryptable.keys():
            _log.info("undecryptable signing key is decrypted or no longer needed", key_id=key_id)
        self._undecryptable = undecryptable

    def _prepare(self, record: KeyRecord) -> PreparedKey:
        prepared: PreparedKey = self.signer.prepare(open_private_key(self.vault, record))
        return prepared

    def _load_channels(self, snapshot: Snapshot, position: Position) -> tuple[dict[str, KnownChannel], Position]:
        """All existing channels, and the position up to which they were read. A failure between two pages changes
        nothing."""
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
        """A description of each row that cannot be read; logs what changed since `before`."""
        now = tuple(description for part in self._damage.values() for description in part)
        for description in sorted(set(now) - set(before)):
            _log.error("ignoring a row of the store that cannot be read", row=description)
        for description in sorted(set(before) - set(now)):
            _log.info("a row of the store that could not be read is repaired or deleted", row=description)
        return now


def _public_keys(records: list[KeyRecord]) -> dict[str, PublicKey]:
    """By key id; without those that cannot be read."""
    public_keys = {}
    for record in records:
        try:
            public_keys[record.id] = keypair.read_public_der(record.public_der)
        except InvalidKey as error:
            _log.error("public key in the store cannot be read", key_id=record.id, error=error.message)
    return public_keys


def _secrets(records: list[CallerRecord]) -> dict[str, KnownSecret]:
    """API keys by id. Callers with equal policies share one policy object, so that with thousands of callers the hot
    path's data still fits the processor's caches."""
    shared: dict[CallerPolicy, CallerPolicy] = {}
    return {
        secret.key_id: KnownSecret(
            secret.digest,
            secret.expires_at,
            Caller(record.name, shared.setdefault(record.policy, record.policy), secret.key_id),
            disabled=record.disabled_at is not None,
        )
        for record in records
        if not record.damage
        for secret in record.secrets
    }


def _bearers(records: list[CallerRecord]) -> dict[tuple[str, str], Caller]:
    """Viewer apps by issuer and audience, which the store keeps unique."""
    return {
        (record.policy.bearer.issuer, record.policy.bearer.audience): Caller(record.name, record.policy)
        for record in records
        if record.policy.bearer is not None and record.disabled_at is None and not record.damage
    }


def _cors_origins(records: list[CallerRecord]) -> dict[str, tuple[str, ...]]:
    return {
        record.name: record.policy.cors_origins
        for record in records
        if record.disabled_at is None and not record.damage and record.policy.cors_origins
    }


def _describe_damaged(kind: str, damaged: Mapping[str, str]) -> tuple[str, ...]:
    """Descriptions of the first MAX_DAMAGED_LISTED rows, and how many more there are."""
    descriptions = [f"{kind} {name} cannot be read: {reason}" for name, reason in sorted(damaged.items())]
    unlisted = len(descriptions) - MAX_DAMAGED_LISTED
    more = [f"{unlisted} more {kind}s cannot be read"] if unlisted > 0 else []
    return tuple(descriptions[:MAX_DAMAGED_LISTED] + more)


def _clock_error(store: float, before: float, after: float) -> float:
    """How far this clock is certainly ahead of the store's (negative: behind), given that the store's reading was taken
    between `before` and `after`; 0 when it lies between them."""
    return before - store if before > store else min(after - store, 0.0)
