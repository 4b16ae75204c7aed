"""Secrets moved to the current wrapping key: every private key and every subject key that is not under it yet. And
private keys moved in from another vault.

Rules of the file
- The secret stays the same, only its envelope changes; each is replaced at once and whole, if it is still what was
  seen. Kill the process anywhere: every secret can be opened, and the next run goes on.
- What is about to be replaced is opened first, and so is what takes its place.
- It ends only when nothing is left. Then the other keys leave the store's list, so that no process starts with one of
  them as its current key, and everything is looked through once more.
- From another vault comes what the store knows and our vault lacks. It stays there too: workers may still read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tokensvc.deployment.record import DeploymentStore, WrappedSubjectKey
from tokensvc.errors import PrivateKeyMissing, VaultError
from tokensvc.jose.keypair import public_der
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import SecretCipher, kek_name
from tokensvc.vault.kek_registry import KekRegistry
from tokensvc.vault.store import Vault


@dataclass(frozen=True, kw_only=True)
class RewrapContext:
    """What secrets are rewrapped with: where they rest, the keys that may wrap them, and where progress is reported."""

    vault: Vault
    deployment: DeploymentStore
    kek_registry: KekRegistry
    cipher: SecretCipher
    report: Callable[[str], None]
    """Told each move in words, for progress."""


class Secret(NamedTuple):
    """A secret that rests in the deployment."""

    name: str
    kek_name: str
    """The name of its wrapping key."""
    rewrap: Callable[[], bool]
    """Put it under the current key; False when somebody else moved or removed it first. Raises VaultError."""


def missing_keys(context: RewrapContext, other: Vault, records: Sequence[KeyRecord]) -> list[str]:
    """The keys that the other vault has and ours lacks."""
    return sorted((other.key_ids() - context.vault.key_ids()) & {record.id for record in records})


def import_missing(context: RewrapContext, other: Vault, records: Sequence[KeyRecord]) -> list[str]:
    """Keep in our vault too, under the current wrapping key, what it lacks; the keys. Raises VaultError."""
    public, moved = {record.id: record.public_der for record in records}, missing_keys(context, other, records)
    for key_id in moved:
        private_key = other.open(key_id)
        if public_der(private_key.public_key()) != public[key_id]:
            raise VaultError(f"what the other vault keeps as {key_id} is another key's private half")
        context.vault.put(key_id, private_key)
        context.report(f"private key {key_id}: moved in")
    return moved


def all_secrets(context: RewrapContext) -> list[Secret]:
    """Every secret that is kept. Raises VaultError when one cannot be looked at, StoreError."""
    return [*_private_keys(context), *_subject_keys(context)]


def pending_secrets(context: RewrapContext) -> list[Secret]:
    """Those that are not under the current wrapping key."""
    return [secret for secret in all_secrets(context) if secret.kek_name != context.cipher.current]


def rewrap(context: RewrapContext) -> list[Secret]:
    """Move everything; what was moved. One that cannot be opened delays no other; its failure is raised at the end."""
    moved = _move_all(context)
    while True:
        context.kek_registry.retain_only(context.cipher.current)
        late = _move_all(context)  # made, under another key, by a process that has not been told
        if not late:
            return moved
        moved += late


def _move_all(context: RewrapContext) -> list[Secret]:
    moved: list[Secret] = []
    failures: dict[str, VaultError] = {}
    while todo := [secret for secret in pending_secrets(context) if secret.name not in failures]:
        for secret in todo:
            try:
                if secret.rewrap():
                    moved.append(secret)
                    context.report(f"{secret.name}: from {secret.kek_name} to {context.cipher.current}")
            except VaultError as error:
                context.report(f"{secret.name} is passed over: {error.message}")
                failures[secret.name] = error
    if failures:
        raise next(iter(failures.values()))
    return moved


def _private_keys(context: RewrapContext) -> Iterator[Secret]:
    for key_id in sorted(context.vault.key_ids()):
        try:
            kept = context.vault.read_envelope(key_id)
        except PrivateKeyMissing:  # removed since it was listed
            continue
        yield Secret(f"private key {key_id}", kek_name(kept), partial(_move_private_key, context, key_id, kept))


def _subject_keys(context: RewrapContext) -> Iterator[Secret]:
    for key in context.deployment.subject_keys():
        yield Secret(f"subject key {key.version}", kek_name(key.wrapped), partial(_move_subject_key, context, key))


def _move_private_key(context: RewrapContext, key_id: str, kept: bytes) -> bool:
    private_key = context.cipher.decrypt_key(kept)
    wrapped = context.cipher.encrypt_key(private_key)
    _require(public_der(context.cipher.decrypt_key(wrapped).public_key()) == public_der(private_key.public_key()))
    return context.vault.replace(key_id, kept, wrapped)


def _move_subject_key(context: RewrapContext, key: WrappedSubjectKey) -> bool:
    subject_key = context.cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
    wrapped = context.cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, subject_key)
    _require(context.cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, wrapped) == subject_key)
    return context.deployment.replace_subject_key(key.version, key.wrapped, wrapped)


def _require(same: bool) -> None:
    if not same:
        raise VaultError("what was wrapped anew opens as something else; nothing was replaced")
