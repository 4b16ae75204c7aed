"""Secrets under their wrapping keys: each new one under the current key, each old one opened by the key that it names.

Rules of the file
- One key is current, and only it wraps. Any number of others open what they wrapped before.
- A secret that names no key is of an earlier release, which knew passphrases only.
- The store lists the keys that its secrets are under. A start must prove one of them; the current one then joins the
  list, and `rewrap` takes the others off it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

from tokensvc.errors import Action, InvalidKey, Remedy, VaultError, WrappingKeyUnknown, WrongPassphrase
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.vault import envelope
from tokensvc.vault.envelope import Envelope
from tokensvc.vault.kek import NONCE_BYTES, DerivedKeys, WrappingKey
from tokensvc.vault.kek_registry import RegisteredKek, KekRegistry

UNNAMED = "a passphrase, unnamed (of an earlier release)"
_PROOF = b"proof"


class SecretCipher:
    """The wrapping keys in force, and what is done with them."""

    def __init__(self, current: WrappingKey, *previous: WrappingKey) -> None:
        self._current = current
        self._keys = {key.name: key for key in (current, *previous)}

    @property
    def current(self) -> str:
        """The name of the key that wraps."""
        return self._current.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys that open, the current one first."""
        return tuple(self._keys)

    def encrypt_key(self, private_key: PrivateKey) -> bytes:
        """A private key's envelope under the current key: encrypted PKCS#8. Raises WrappingKeyUnavailable."""
        keys, data_key = self._current.generate_data_key()
        return self._sealed(data_key, keypair.private_pem(private_key, keys.pkcs8_password))

    def decrypt_key(self, kept: bytes) -> PrivateKey:
        """The private key in an envelope. Raises VaultError's leaves, saying which key is wanting."""
        found = envelope.read(kept)
        if not found.kek_name:
            return self._by_any_passphrase(found.body)
        try:
            return keypair.read_private_pem(found.body, self._wrapping_of(found).pkcs8_password)
        except WrongPassphrase:
            raise _damaged(found) from None

    def encrypt_secret(self, purpose: str, secret: bytes) -> bytes:
        """The envelope of another secret under the current key, bound to its purpose. Raises WrappingKeyUnavailable."""
        keys, data_key = self._current.generate_data_key()
        return self._sealed(data_key, keys.encrypt(purpose, secret, secrets.token_bytes(NONCE_BYTES)))

    def decrypt_secret(self, purpose: str, kept: bytes) -> bytes:
        """The secret in an envelope. Raises VaultError's leaves, saying which key is wanting."""
        found = envelope.read(kept)
        if not found.kek_name:
            failure = WrongPassphrase(f"the passphrase does not open the store's {purpose}")
            for keys in self._passphrases():
                try:
                    return keys.decrypt(purpose, found.body)
                except WrongPassphrase as wrong:
                    failure = wrong
            raise failure from None
        try:
            return self._wrapping_of(found).decrypt(purpose, found.body)
        except WrongPassphrase:
            raise _damaged(found) from None

    def _sealed(self, data_key: bytes, body: bytes) -> bytes:
        return envelope.write(Envelope(self._current.name, data_key, body))

    def _wrapping_of(self, found: Envelope) -> DerivedKeys:
        key = self._keys.get(found.kek_name)
        if key is None:
            raise WrappingKeyUnknown(
                f"it is wrapped by {found.kek_name}, and the settings give {' and '.join(self._keys)}",
                subject={"wrapping_key": found.kek_name},
                remedy=_add_previous(found.kek_name),
            )
        return key.decrypt_data_key(found.data_key)

    def _by_any_passphrase(self, pem: bytes) -> PrivateKey:
        failure: VaultError = WrongPassphrase(
            "it was wrapped by a passphrase, and the settings give none", remedy=Remedy(Action.ADD_PREVIOUS_PASSPHRASE)
        )
        passwords: list[bytes | None] = [keys.pkcs8_password for keys in self._passphrases()]
        for password in passwords or [None]:
            try:
                return keypair.read_private_pem(pem, password)
            except WrongPassphrase as wrong:
                failure = wrong if password else failure
        if pem.startswith(envelope.BEGIN):
            failure = InvalidKey("it is damaged: the lines that name its wrapping key cannot be read")
        raise failure from None

    def _passphrases(self) -> list[DerivedKeys]:
        return [key.decrypt_data_key(b"") for key in self._keys.values() if key.check_value is not None]


def kek_name(kept: bytes) -> str:
    """The name of the key that an envelope is under."""
    return envelope.read(kept).kek_name or UNNAMED


def require_registered_kek(listed: Sequence[RegisteredKek], *keys: WrappingKey) -> None:
    """See that the store's secrets are under one of these keys, the current one first, or that there are none yet.

    Raises WrongPassphrase or WrappingKeyUnknown.
    """
    if listed and not any(_is_registered(listed, key) for key in keys):
        raise _unknown_kek(keys[0], listed)


def register_kek(known: KekRegistry, current: WrappingKey, *previous: WrappingKey) -> SecretCipher:
    """The cipher of these keys, once the store's list has one of them and, from now on, the current one.

    A store without any takes the current key as its first. Raises WrongPassphrase or WrappingKeyUnknown, and nothing
    was changed; WrappingKeyUnavailable when a key that is new to the store cannot be used.
    """
    listed = known.list()
    require_registered_kek(listed, current, *previous)
    if not _is_registered(listed, current):
        _self_test(current)
        beside = next((key.name for key in previous if _is_registered(listed, key)), None)
        listed = known.add(RegisteredKek(current.name, current.check_value), beside)
        require_registered_kek(listed, current)  # somebody else may have been first
    return SecretCipher(current, *previous)


def _is_registered(listed: Sequence[RegisteredKek], key: WrappingKey) -> bool:
    return any(k.name == key.name and hmac.compare_digest(k.check_value or b"", key.check_value or b"") for k in listed)


def _self_test(key: WrappingKey) -> None:
    """Before the first secret goes under a key: what it wraps, it opens."""
    keys, data_key = key.generate_data_key()
    again = key.decrypt_data_key(data_key)
    if again.decrypt("proof", keys.encrypt("proof", _PROOF, secrets.token_bytes(NONCE_BYTES))) != _PROOF:
        raise VaultError(f"{key.name} does not open what it wrapped")


def _unknown_kek(current: WrappingKey, listed: Sequence[RegisteredKek]) -> VaultError:
    if current.check_value is not None:
        return WrongPassphrase(
            "the passphrase is not the passphrase that this store's secrets are wrapped with; nothing was changed",
            remedy=Remedy(Action.RESTORE_PASSPHRASE)
            if any(k.check_value for k in listed)
            else _add_previous(listed[-1].name),
        )
    names = " and ".join(k.name for k in listed)
    return WrappingKeyUnknown(
        f"this store's secrets are wrapped by {names}, not by {current.name}; nothing was changed",
        subject={"wrapping_key": current.name},
        remedy=_add_previous(listed[-1].name),
    )


def _add_previous(name: str) -> Remedy:
    """What gives the settings a wrapping key that only opens."""
    arn = name.removeprefix("kms:")
    return Remedy(Action.ADD_PREVIOUS_PASSPHRASE) if arn == name else Remedy(Action.ADD_PREVIOUS_KMS_KEY, {"arn": arn})


def _damaged(found: Envelope) -> InvalidKey:
    return InvalidKey(f"it is damaged: {found.kek_name}, which it names, does not open it")
