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
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tokensvc.core import keypair
from tokensvc.core.arn import Place
from tokensvc.core.keypair import PublicKey
from tokensvc.core.lifecycle import MAY_SIGN, KeyInPlace, KeyRecord, KeyState
from tokensvc.core.policy import Caller, CallerPolicy
from tokensvc.core.ring import Ring, SigningKey, Slot, retiring_signs_until
from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS, KnownChannel, KnownSecret, Snapshot
from tokensvc.core.viewer import SUBJECT_KEY_PURPOSE
from tokensvc.errors import InvalidKey, VaultError
from tokensvc.logger import structlog
from tokensvc.loops.denials import DenialNews
from tokensvc.loops.hearing import NOTHING_HEARD
from tokensvc.ports.callers import CallerRecord, CallerStore
from tokensvc.ports.channels import REREAD_AFTER_SECONDS, ChannelStore
from tokensvc.ports.clock import Clock
from tokensvc.ports.deployment import DeploymentStore
from tokensvc.ports.keys import KeyStore
from tokensvc.ports.signer import SignerMaker
from tokensvc.ports.vault import Vault
from tokensvc.ports.versions import StoreVersions, Versions
from tokensvc.subjects import first_subject_key
from tokensvc.wrap import Wrapper

EVERY_SECONDS = 0.8
"""A change is seen by every worker within two seconds; this leaves room for a slow answer."""

_CHANNELS_AT_ONCE = 1000
_log = structlog.get_logger(__name__)


@dataclass
class Refresh:
    """The one writer of a worker's snapshot. Everyone else reads `current`."""

    versions: Versions
    deployment: DeploymentStore
    keys: KeyStore
    callers: CallerStore
    channels: ChannelStore
    denials: DenialNews
    vault: Vault
    wrapper: Wrapper
    make_signer: SignerMaker
    clock: Clock
    reach_seconds: float
    """R: the longest that any worker can act on old news."""
    current: Snapshot = field(default_factory=Snapshot)
    heard: StoreVersions = NOTHING_HEARD
    """The versions that `current` is made of."""
    _channels_seen: int = 0
    _channels_read_at: float = -math.inf
    """When the last refresh began that read every change of channels, on the monotonic clock."""
    _prepared: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    _subject_keys: dict[int, bytes] = field(default_factory=dict)
    _unopened: dict[str, str] = field(default_factory=dict)
    """By key id, why it could not be opened when it was last tried."""

    def once(self) -> None:
        """Bring `current` up to date. Raises StoreError, and then `current` is as old as it was."""
        began_at, before = self.clock.monotonic(), self.clock.now()
        versions = self.versions.read()
        after = self.clock.now()
        snapshot = self.current._replace(denied=self.denials.denied)
        if versions.deployment != self.heard.deployment:
            snapshot = snapshot._replace(
                max_ttl_seconds=self.deployment.read().max_ttl_seconds, subject_key=self._subject_key()
            )
        if versions.keys != self.heard.keys or any(slot.trouble for slot in snapshot.ring.slots.values()):
            snapshot = snapshot._replace(ring=self._ring(self.keys.list()))
        if versions.callers != self.heard.callers:
            snapshot = snapshot._replace(secrets=_secrets(self.callers.list()))
        channels, channels_seen = snapshot.channels, self._channels_seen
        if versions.channels < channels_seen or began_at - self._channels_read_at > REREAD_AFTER_SECONDS:
            channels, channels_seen = {}, 0
        if versions.channels != channels_seen:
            channels, channels_seen = self._channels(channels, channels_seen, versions.channels)
        snapshot = snapshot._replace(channels=channels)
        self.current, self._channels_seen, self._channels_read_at = snapshot, channels_seen, began_at
        self.heard = versions
        self.denials.catch_up(versions)
        self.current = snapshot._replace(began_at=began_at, clock_error_seconds=_outside(versions.now, before, after))

    def _subject_key(self) -> bytes:
        """The newest subject key; the first worker of a new store makes it, by compare-and-set."""
        newest = next(iter(self.deployment.subject_keys()), None) or first_subject_key(self.deployment, self.wrapper)
        if newest.version not in self._subject_keys:
            self._subject_keys = {newest.version: self.wrapper.unwrap_secret(SUBJECT_KEY_PURPOSE, newest.wrapped)}
        return self._subject_keys[newest.version]

    def _ring(self, records: list[KeyRecord]) -> Ring:
        here: dict[Place, list[tuple[KeyRecord, KeyInPlace]]] = {}
        for record in records:
            for there in record.places:
                here.setdefault(there.place, []).append((record, there))
        unopened: dict[str, str] = {}
        slots = {place: self._slot(keys, unopened) for place, keys in here.items()}
        signing = {slot.active.key_id for slot in slots.values() if slot.active}
        self._prepared = {key_id: sign for key_id, sign in self._prepared.items() if key_id in signing}
        self._tell(unopened)
        return Ring(slots, frozenset(unopened))

    def _slot(self, keys: list[tuple[KeyRecord, KeyInPlace]], unopened: dict[str, str]) -> Slot:
        """The keys of a place; which of them could not be opened goes into `unopened`, with the reason."""
        accepted = _accepted([record for record, there in keys if there.state in MAY_SIGN])
        active = next(((r, there) for r, there in keys if there.state is KeyState.ACTIVE), None)
        if active is None:
            return Slot(None, accepted)
        if key := self._signing_key(*active, unopened):
            return Slot(key, accepted)
        trouble = f"the active key {active[0].id} cannot be opened by this worker"
        for record, there in self._in_its_stead(keys):
            if key := self._signing_key(record, there, unopened):
                until = datetime.fromtimestamp(key.until, UTC).isoformat(timespec="seconds")
                return Slot(key, accepted, trouble=f"{trouble}; the retiring key {record.id} signs until {until}")
        return Slot(None, accepted, trouble=trouble)

    def _in_its_stead(self, keys: list[tuple[KeyRecord, KeyInPlace]]) -> list[tuple[KeyRecord, KeyInPlace]]:
        """The retiring keys that may still sign, the newest first."""
        now = self.clock.now()
        retiring = [(r, t) for r, t in keys if t.state is KeyState.RETIRING and t.activated_at and not t.deleting_at]
        retiring = [(r, t) for r, t in retiring if self._until(t) >= now]
        return sorted(retiring, key=lambda pair: pair[1].activated_at or pair[1].imported_at, reverse=True)

    def _until(self, there: KeyInPlace) -> float:
        if there.state is KeyState.ACTIVE or there.retiring_at is None:
            return math.inf
        return retiring_signs_until(there.retiring_at, self.reach_seconds, CLOCK_SKEW_SECONDS)

    def _signing_key(self, record: KeyRecord, there: KeyInPlace, unopened: dict[str, str]) -> SigningKey | None:
        if record.id in unopened:  # in another place of this ring
            return None
        try:
            if record.id not in self._prepared:
                self._prepared[record.id] = self._prepare(record)
        except VaultError as problem:
            unopened[record.id] = problem.message
            return None
        sign, longest = self._prepared[record.id], there.longest_ttl_seconds
        return SigningKey(record.id, sign, longest, there.activated_at, self._until(there))

    def _tell(self, unopened: dict[str, str]) -> None:
        """Once for each change, not each second."""
        for key_id, problem in unopened.items():
            if self._unopened.get(key_id) != problem:
                _log.error("a key that should sign cannot be opened", key_id=key_id, problem=problem)
        for key_id in self._unopened.keys() - unopened.keys():
            _log.info("a key that could not be opened is no longer in the way", key_id=key_id)
        self._unopened = unopened

    def _prepare(self, record: KeyRecord) -> Callable[[bytes], bytes]:
        private_key = self.vault.open(record.id)
        if keypair.public_der(private_key.public_key()) != record.public_der:
            raise InvalidKey("the private half in the vault is another key's; IVS would refuse what it signs")
        return self.make_signer(private_key).sign

    def _channels(
        self, known: Mapping[str, KnownChannel], seen: int, version: int
    ) -> tuple[dict[str, KnownChannel], int]:
        """All channels, and the change number up to which they are read, `version` at least; the store may fail between
        two pages."""
        channels = dict(known)
        while rows := self.channels.changed_since(seen, _CHANNELS_AT_ONCE):
            for row in rows:
                if row.playback_url is None:
                    channels.pop(row.arn, None)
                else:
                    channels[row.arn] = KnownChannel(row.playback_url, row.authorized, row.checked_at)
            seen = rows[-1].version
        return channels, max(seen, version)  # rows are deleted, so the last numbers may have none


def _accepted(records: list[KeyRecord]) -> dict[str, PublicKey]:
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
        if record.disabled_at is None
        for secret in record.secrets
    }


def _outside(store: float, before: float, after: float) -> float:
    """How far our clock is ahead of the store's (negative: behind), given that the store answered in between."""
    return before - store if before > store else min(after - store, 0.0)
