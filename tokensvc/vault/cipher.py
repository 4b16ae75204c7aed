"""Encrypts secrets with the current wrapping key, and decrypts them with the wrapping key that their envelope names.

Invariants
- Only the current key encrypts. Previous keys decrypt only.
- A secret whose envelope names no key was written by an earlier release, which supported passphrases only.
- The store has a registry of the keys that its secrets are encrypted with. A start must give one of them. The current
  key is then registered too, and `rewrap` removes the others.
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
from tokensvc.vault.store import KekRegistry, RegisteredKek

UNNAMED = "an unnamed passphrase (of an earlier release)"
_TEST_SECRET = b"proof"


class SecretCipher:
    """Encrypts with the current wrapping key and decrypts with all configured ones."""

    def __init__(self, current: WrappingKey, *previous: WrappingKey) -> None:
        self._current = current
        self._keys = {key.name: key for key in (current, *previous)}

    @property
    def current(self) -> str:
        """The name of the key that encrypts."""
        return self._current.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys that decrypt, the current one first."""
        return tuple(self._keys)

    def encrypt_key(self, private_key: PrivateKey) -> bytes:
        """The envelope of a private key as encrypted PKCS#8. Raises WrappingKeyUnavailable."""
        keys, data_key = self._current.generate_data_key()
        return self._envelope(data_key, keypair.private_pem(private_key, keys.pkcs8_password))

    def decrypt_key(self, stored: bytes) -> PrivateKey:
        """The private key in an envelope. Raises VaultError, naming the wrapping key if it is not configured."""
        parsed = envelope.read(stored)
        if not parsed.kek_name:
            return self._decrypt_unnamed(parsed.body)
        try:
            return keypair.read_private_pem(parsed.body, self._derived_keys(parsed).pkcs8_password)
        except WrongPassphrase:
            raise _damaged(parsed) from None

    def encrypt_secret(self, purpose: str, secret: bytes) -> bytes:
        """The envelope of any other secret, bound to its purpose. Raises WrappingKeyUnavailable."""
        keys, data_key = self._current.generate_data_key()
        return self._envelope(data_key, keys.encrypt(purpose, secret, secrets.token_bytes(NONCE_BYTES)))

    def decrypt_secret(self, purpose: str, stored: bytes) -> bytes:
        """The secret in an envelope. Raises VaultError, naming the wrapping key if it is not configured."""
        parsed = envelope.read(stored)
        if not parsed.kek_name:
            error = WrongPassphrase(f"the passphrase cannot decrypt the store's {purpose}")
            for keys in self._passphrases():
                try:
                    return keys.decrypt(purpose, parsed.body)
                except WrongPassphrase as wrong:
                    error = wrong
            raise error from None
        try:
            return self._derived_keys(parsed).decrypt(purpose, parsed.body)
        except WrongPassphrase:
            raise _damaged(parsed) from None

    def _envelope(self, data_key: bytes, body: bytes) -> bytes:
        return envelope.write(Envelope(self._current.name, data_key, body))

    def _derived_keys(self, parsed: Envelope) -> DerivedKeys:
        key = self._keys.get(parsed.kek_name)
        if key is None:
            raise WrappingKeyUnknown(
                f"it is encrypted with {parsed.kek_name}, and only {' and '.join(self._keys)} is configured",
                subject={"wrapping_key": parsed.kek_name},
                remedy=_add_previous(parsed.kek_name),
            )
        return key.decrypt_data_key(parsed.data_key)

    def _decrypt_unnamed(self, pem: bytes) -> PrivateKey:
        error: VaultError = WrongPassphrase(
            "it is encrypted with a passphrase, and none is configured", remedy=Remedy(Action.ADD_PREVIOUS_PASSPHRASE)
        )
        passwords: list[bytes | None] = [keys.pkcs8_password for keys in self._passphrases()]
        for password in passwords or [None]:
            try:
                return keypair.read_private_pem(pem, password)
            except WrongPassphrase as wrong:
                error = wrong if password else error
        if pem.startswith(envelope.BEGIN):
            error = InvalidKey("it is damaged: the lines that name its wrapping key cannot be read")
        raise error from None

    def _passphrases(self) -> list[DerivedKeys]:
        return [key.decrypt_data_key(b"") for key in self._keys.values() if key.check_value is not None]


def kek_name(stored: bytes) -> str:
    """The name of the wrapping key of an envelope."""
    return envelope.read(stored).kek_name or UNNAMED


def require_registered_kek(registered: Sequence[RegisteredKek], *keys: WrappingKey) -> None:
    """Require that one of these keys, the current one first, is registered, or that no key is registered yet.

    Raises WrongPassphrase or WrappingKeyUnknown.
    """
    if registered and not any(_is_registered(registered, key) for key in keys):
        raise _unknown_kek(keys[0], registered)


def register_kek(registry: KekRegistry, current: WrappingKey, *previous: WrappingKey) -> SecretCipher:
    """Register the current key, if one of these keys is registered already or none is. Returns the cipher of the keys.

    Raises WrongPassphrase or WrappingKeyUnknown, and then nothing was changed; raises WrappingKeyUnavailable if a key
    that is not registered yet cannot be used.
    """
    registered = registry.list()
    require_registered_kek(registered, current, *previous)
    if not _is_registered(registered, current):
        _self_test(current)
        existing = next((key.name for key in previous if _is_registered(registered, key)), None)
        registered = registry.add(RegisteredKek(current.name, current.check_value), existing)
        require_registered_kek(registered, current)  # another process may have registered its key first
    return SecretCipher(current, *previous)


def _is_registered(registered: Sequence[RegisteredKek], key: WrappingKey) -> bool:
    return any(
        kek.name == key.name and hmac.compare_digest(kek.check_value or b"", key.check_value or b"")
        for kek in registered
    )


def _self_test(key: WrappingKey) -> None:
    """Before the first secret is encrypted with a key, check that the key can decrypt what it encrypts."""
    keys, data_key = key.generate_data_key()
    encrypted = keys.encrypt("proof", _TEST_SECRET, secrets.token_bytes(NONCE_BYTES))
    if key.decrypt_data_key(data_key).decrypt("proof", encrypted) != _TEST_SECRET:
        raise VaultError(f"{key.name} cannot decrypt what it has encrypted")


def _unknown_kek(current: WrappingKey, registered: Sequence[RegisteredKek]) -> VaultError:
    if current.check_value is not None:
        return WrongPassphrase(
            "the passphrase is not the one that this store's secrets are encrypted with; nothing was changed",
            remedy=Remedy(Action.RESTORE_PASSPHRASE)
            if any(kek.check_value for kek in registered)
            else _add_previous(registered[-1].name),
        )
    names = " and ".join(kek.name for kek in registered)
    return WrappingKeyUnknown(
        f"this store's secrets are encrypted with {names}, not with {current.name}; nothing was changed",
        subject={"wrapping_key": current.name},
        remedy=_add_previous(registered[-1].name),
    )


def _add_previous(name: str) -> Remedy:
    """Configure this wrapping key as a previous one, for decryption only."""
    arn = name.removeprefix("kms:")
    return Remedy(Action.ADD_PREVIOUS_PASSPHRASE) if arn == name else Remedy(Action.ADD_PREVIOUS_KMS_KEY, {"arn": arn})


def _damaged(parsed: Envelope) -> InvalidKey:
    return InvalidKey(f"it is damaged: {parsed.kek_name}, its wrapping key, cannot decrypt it")
