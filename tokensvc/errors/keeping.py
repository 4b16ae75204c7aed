"""What goes wrong where things are kept: the store, the vault and the settings."""

from __future__ import annotations

from collections.abc import Sequence

from tokensvc.errors.remedies import Remedy
from tokensvc.errors.root import FieldError, TokensvcError


class StoreError(TokensvcError):
    """The store failed us."""

    code = "store_error"
    retry_after_seconds = 5


class StoreUnavailable(StoreError):
    """The store did not answer in time, is locked, full or away. Nothing was acknowledged."""

    code = "store_unavailable"


class SchemaMismatch(StoreError):
    """The store's schema is not the one that this version reads and writes."""

    code = "schema_mismatch"


class RowUnreadable(StoreError):
    """A row of the store holds what no version of this service wrote; the message names the row and the column."""

    code = "row_unreadable"


class StoreReplaced(StoreError):
    """What was read from the store is not part of its history: it was replaced, or restored from a backup."""

    code = "store_replaced"


class VaultError(TokensvcError):
    """A private key cannot be kept or read."""

    code = "vault_error"


class PrivateKeyMissing(VaultError):
    """The vault has no private half for this key."""

    code = "private_key_missing"


class KeyFileTooOpen(VaultError):
    """A private key's file can be read, or its directory be written to, by other users, or one of them owns it."""

    code = "key_file_too_open"


class WrongPassphrase(VaultError):
    """The passphrase is not the one that the store's secrets are wrapped with."""

    code = "wrong_passphrase"


class WrappingKeyUnknown(VaultError):
    """A secret is wrapped by a key that the settings do not give."""

    code = "wrapping_key_unknown"


class WrappingKeyUnavailable(VaultError):
    """AWS KMS did not answer, or refused: what its key wraps can neither be opened nor made."""

    code = "wrapping_key_unavailable"
    retry_after_seconds = 5


class InvalidKey(VaultError):
    """It is not a P-384 key that can be read; the message says what it is."""

    code = "invalid_key"


class SettingsError(TokensvcError):
    """The settings do not hold; every bad variable is listed."""

    code = "settings_error"

    def __init__(self, errors: Sequence[FieldError], *, remedy: Remedy | None = None) -> None:
        super().__init__("\n".join(f"{e.field}: {e.message}" for e in errors), remedy=remedy)
        self.errors = tuple(errors)
