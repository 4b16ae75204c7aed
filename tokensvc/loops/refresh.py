"""Keeps a worker's snapshot fresh: asks the store what changed, reads only that, swaps the whole.

Rules of the file
- One small query a second; a part is read again only when its version number rose.
- The snapshot's age counts from the beginning of the refresh that made it, on the monotonic clock.
- A private key is opened once and prepared once, when its key becomes active; what cannot be opened is told as trouble
  in that slot and spoils no other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from tokensvc.core import keypair
from tokensvc.core.arn import Place
from tokensvc.core.keypair import PublicKey
from tokensvc.core.lifecycle import MAY_SIGN, KeyInPlace, KeyRecord, KeyState
from tokensvc.core.policy import Caller
from tokensvc.core.ring import Ring, SigningKey, Slot
from tokensvc.core.snapshot import KnownChannel, KnownSecret, Snapshot
from tokensvc.core.viewer import SUBJECT_KEY_BYTES
from tokensvc.core.wrapping import NONCE_BYTES, Wrapping
from tokensvc.errors import InvalidKey, VaultError
from tokensvc.ports.callers import CallerRecord, CallerStore
from tokensvc.ports.channels import ChannelStore
from tokensvc.ports.clock import Clock
from tokensvc.ports.deployment import DeploymentStore, WrappedSubjectKey
from tokensvc.ports.keys import KeyStore
from tokensvc.ports.signer import SignerMaker
from tokensvc.ports.vault import Vault
from tokensvc.ports.versions import StoreVersions, Versions

EVERY_SECONDS = 0.8
"""A change is seen by every worker within two seconds; this leaves room for a slow answer."""

SUBJECT_KEY_PURPOSE = "subject key"
_CHANNELS_AT_ONCE = 1000
_NOTHING_READ = StoreVersions(now=0, deployment=-1, keys=-1, callers=-1, channels=-1)
_log = structlog.get_logger(__name__)


@dataclass
class Refresh:
    """The one writer of a worker's snapshot. Everyone else reads `current`."""

    versions: Versions
    deployment: DeploymentStore
    keys: KeyStore
    callers: CallerStore
    channels: ChannelStore
    vault: Vault
    wrapping: Wrapping
    make_signer: SignerMaker
    clock: Clock
    current: Snapshot = field(default_factory=Snapshot)
    _seen: StoreVersions = _NOTHING_READ
    _channels_seen: int = 0
    _prepared: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)

    def once(self) -> None:
        """Bring `current` up to date. Raises StoreError, and then `current` is as it was."""
        began_at, before = self.clock.monotonic(), self.clock.now()
        versions = self.versions.read()
        after = self.clock.now()
        snapshot = self.current
        if versions.deployment != self._seen.deployment:
            snapshot = snapshot._replace(
                max_ttl_seconds=self.deployment.read().max_ttl_seconds, subject_key=self._subject_key()
            )
        if versions.keys != self._seen.keys or any(slot.trouble for slot in snapshot.ring.slots.values()):
            snapshot = snapshot._replace(ring=self._ring(self.keys.list()))
        if versions.callers != self._seen.callers:
            snapshot = snapshot._replace(secrets=_secrets(self.callers.list()))
        channels_seen = self._channels_seen
        if versions.channels != channels_seen:
            channels, channels_seen = self._channels(snapshot)
            snapshot = snapshot._replace(channels=channels)
        self.current = snapshot._replace(began_at=began_at, clock_error_seconds=_outside(versions.now, before, after))
        self._seen, self._channels_seen = versions, channels_seen

    def _subject_key(self) -> bytes:
        """The newest subject key; the first worker of a new store makes it, by compare-and-set."""
        newest = next(iter(self.deployment.subject_keys()), None) or self._make_subject_key()
        return self.wrapping.unwrap(SUBJECT_KEY_PURPOSE, newest.wrapped)

    def _make_subject_key(self) -> WrappedSubjectKey:
        fresh = secrets.token_bytes(SUBJECT_KEY_BYTES)
        wrapped = self.wrapping.wrap(SUBJECT_KEY_PURPOSE, fresh, secrets.token_bytes(NONCE_BYTES))
        return self.deployment.add_subject_key(1, wrapped)

    def _ring(self, records: list[KeyRecord]) -> Ring:
        here: dict[Place, list[tuple[KeyRecord, KeyInPlace]]] = {}
        for record in records:
            for there in record.places:
                here.setdefault(there.place, []).append((record, there))
        ring = Ring({place: self._slot(keys) for place, keys in here.items()})
        signing = {slot.active.key_id for slot in ring.slots.values() if slot.active}
        self._prepared = {key_id: sign for key_id, sign in self._prepared.items() if key_id in signing}
        return ring

    def _slot(self, keys: list[tuple[KeyRecord, KeyInPlace]]) -> Slot:
        accepted = _accepted([record for record, there in keys if there.state in MAY_SIGN])
        active = next(((r, there) for r, there in keys if there.state is KeyState.ACTIVE), None)
        if active is None:
            return Slot(None, accepted)
        record, there = active
        try:
            if record.id not in self._prepared:
                self._prepared[record.id] = self._prepare(record)
        except VaultError as problem:
            _log.error("the active key cannot be opened", key_id=record.id, code=problem.code, problem=problem.message)
            return Slot(None, accepted, trouble=f"the active key {record.id} cannot be opened by this worker")
        sign = self._prepared[record.id]
        return Slot(SigningKey(record.id, sign, there.longest_ttl_seconds, there.activated_at), accepted)

    def _prepare(self, record: KeyRecord) -> Callable[[bytes], bytes]:
        private_key = self.vault.open(record.id)
        if keypair.public_der(private_key.public_key()) != record.public_der:
            raise InvalidKey("the private half in the vault is another key's; IVS would refuse what it signs")
        return self.make_signer(private_key).sign

    def _channels(self, snapshot: Snapshot) -> tuple[dict[str, KnownChannel], int]:
        """All channels, and the change number up to which they are read; the store may fail between two pages."""
        channels, seen = dict(snapshot.channels), self._channels_seen
        while rows := self.channels.changed_since(seen, _CHANNELS_AT_ONCE):
            for row in rows:
                channels[row.arn] = KnownChannel(row.playback_url, row.authorized, row.checked_at)
            seen = rows[-1].version
        return channels, seen


def _accepted(records: list[KeyRecord]) -> dict[str, PublicKey]:
    accepted = {}
    for record in records:
        try:
            accepted[record.id] = keypair.read_public_der(record.public_der)
        except InvalidKey as problem:
            _log.error("a public half in the store cannot be read", key_id=record.id, problem=problem.message)
    return accepted


def _secrets(records: list[CallerRecord]) -> dict[str, KnownSecret]:
    return {
        secret.key_id: KnownSecret(secret.digest, secret.expires_at, Caller(record.name, record.policy))
        for record in records
        if record.disabled_at is None
        for secret in record.secrets
    }


def _outside(store: float, before: float, after: float) -> float:
    """How far our clock is ahead of the store's (negative: behind), given that the store answered in between."""
    return before - store if before > store else min(after - store, 0.0)
