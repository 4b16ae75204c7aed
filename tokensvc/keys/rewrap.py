"""Rewrapping: re-encrypting every private key and subject key with the current wrapping key.

Invariants
- Only the envelope of a secret changes, never the secret itself. Each envelope is replaced atomically, if it is still
  the one that was read. The process may be killed at any point: every secret can still be decrypted, and the next run
  continues.
- A secret is decrypted before it is replaced, and so is its new envelope.
- A run ends only when nothing is pending. The other wrapping keys are then removed from the store's registry, so that
  no process starts with one of them as its current key, and all secrets are checked once more.
- Private keys that the store knows and our vault lacks can be copied from another vault. They stay there too, because
  workers may still read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tokensvc.audit.requester import Requester
from tokensvc.deployment.record import DeploymentStore, WrappedSubjectKey
from tokensvc.errors import PrivateKeyMissing, VaultError
from tokensvc.jose.keypair import public_der
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import SecretCipher, kek_name
from tokensvc.vault.store import KekRegistry, Vault


@dataclass(frozen=True, kw_only=True)
class RewrapContext:
    """The dependencies of rewrapping: where secrets are stored, the wrapping keys, and progress reports."""

    vault: Vault
    deployment: DeploymentStore
    kek_registry: KekRegistry
    cipher: SecretCipher
    requester: Requester
    """On whose behalf it is done, for audit records."""
    report: Callable[[str], None]
    """Receives each change as a sentence, to show progress."""


class Secret(NamedTuple):
    """A stored secret of the deployment."""

    name: str
    """As in `private key k1`."""
    kek_name: str
    """The name of its wrapping key."""
    rewrap: Callable[[], bool]
    """Wraps it with the current key. False if another process rewrapped or removed it first. Raises VaultError."""


def missing_keys(context: RewrapContext, other: Vault, records: Sequence[KeyRecord]) -> list[str]:
    """The keys that are in the other vault and not in ours."""
    return sorted((other.key_ids() - context.vault.key_ids()) & {record.id for record in records})


def import_missing(context: RewrapContext, other: Vault, records: Sequence[KeyRecord]) -> list[str]:
    """Copy the missing private keys into our vault, under the current wrapping key. Returns their ids.

    Raises VaultError.
    """
    public_keys = {record.id: record.public_der for record in records}
    missing = missing_keys(context, other, records)
    for key_id in missing:
        private_key = other.load(key_id)
        if public_der(private_key.public_key()) != public_keys[key_id]:
            raise VaultError(f"the private key {key_id} in the other vault belongs to another public key")
        context.vault.put(key_id, private_key)
        context.report(f"private key {key_id}: copied into the vault")
    return missing


def all_secrets(context: RewrapContext) -> list[Secret]:
    """Every stored secret. Raises VaultError if one cannot be read, and StoreError."""
    return [*_private_keys(context), *_subject_keys(context)]


def pending_secrets(context: RewrapContext) -> list[Secret]:
    """Those that are not wrapped with the current key."""
    return [secret for secret in all_secrets(context) if secret.kek_name != context.cipher.current]


def rewrap(context: RewrapContext) -> list[Secret]:
    """Rewrap all pending secrets and return them.

    A secret that cannot be decrypted does not delay the others; the first error is raised at the end.
    """
    rewrapped = _rewrap_pending(context)
    while True:
        event = context.requester.event("keys.rewrap", context.cipher.current)
        context.kek_registry.retain_only(context.cipher.current, event=event)
        late = _rewrap_pending(context)  # created under another key by a process with older settings
        if not late:
            return rewrapped
        rewrapped += late


def _rewrap_pending(context: RewrapContext) -> list[Secret]:
    rewrapped: list[Secret] = []
    errors: dict[str, VaultError] = {}
    while pending := [secret for secret in pending_secrets(context) if secret.name not in errors]:
        for secret in pending:
            try:
                if secret.rewrap():
                    rewrapped.append(secret)
                    context.report(f"{secret.name}: rewrapped from {secret.kek_name} to {context.cipher.current}")
            except VaultError as error:
                context.report(f"{secret.name}: skipped: {error.message}")
                errors[secret.name] = error
    if errors:
        raise next(iter(errors.values()))
    return rewrapped


def _private_keys(context: RewrapContext) -> Iterator[Secret]:
    for key_id in sorted(context.vault.key_ids()):
        try:
            envelope = context.vault.read_envelope(key_id)
        except PrivateKeyMissing:  # removed since it was listed
            continue
        yield Secret(
            f"private key {key_id}", kek_name(envelope), partial(_rewrap_private_key, context, key_id, envelope)
        )


def _subject_keys(context: RewrapContext) -> Iterator[Secret]:
    for key in context.deployment.subject_keys():
        yield Secret(f"subject key {key.version}", kek_name(key.wrapped), partial(_rewrap_subject_key, context, key))


def _rewrap_private_key(context: RewrapContext, key_id: str, envelope: bytes) -> bool:
    private_key = context.cipher.decrypt_key(envelope)
    rewrapped = context.cipher.encrypt_key(private_key)
    _require_same(
        public_der(context.cipher.decrypt_key(rewrapped).public_key()) == public_der(private_key.public_key())
    )
    return context.vault.replace(key_id, envelope, rewrapped)


def _rewrap_subject_key(context: RewrapContext, key: WrappedSubjectKey) -> bool:
    subject_key = context.cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
    rewrapped = context.cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, subject_key)
    _require_same(context.cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, rewrapped) == subject_key)
    return context.deployment.replace_subject_key(key.version, key.wrapped, rewrapped)


def _require_same(is_same: bool) -> None:
    if not is_same:
        raise VaultError("the rewrapped secret decrypts to something else; nothing was replaced")
