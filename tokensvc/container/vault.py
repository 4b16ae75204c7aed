"""Assembles the vault and its key-encryption keys (KEKs) from settings and store.

Invariants
- The KMS key encrypts if one is set, else the passphrase. All other KEKs that are set only decrypt.
- All machines use one vault: with PostgreSQL it is the store, or a directory that is declared shared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from tokensvc.audit.requester import Requester
from tokensvc.deployment.record import Deployment
from tokensvc.errors import FieldError, InvalidKey, SettingsError, SubjectKeyLost, WrappingKeyUnknown
from tokensvc.keys import rewrap
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import SecretCipher, register_kek, require_registered_kek
from tokensvc.vault.kek import PassphraseKey, WrappingKey
from tokensvc.vault.key_files import KeyFiles
from tokensvc.vault.store import Vault

IN_STORE, FILES, SHARED_FILES = "store", "file:", "shared-file:"
DEFAULT_FILES = f"{FILES}keys"

ACTIVE_KEK_SETTINGS = ("kms_key_arn", "passphrase")
"""The first of these that is set encrypts."""
PREVIOUS_KEK_SETTINGS = ("previous_kms_key_arn", "previous_passphrase")


def active_kek_setting(settings: Settings) -> str | None:
    """The setting whose KEK encrypts, if any is set."""
    return next((name for name in ACTIVE_KEK_SETTINGS if getattr(settings, name) is not None), None)


def decrypt_only_settings(settings: Settings) -> list[str]:
    """The settings whose KEKs only decrypt what they encrypted before."""
    return [
        name
        for name in (*ACTIVE_KEK_SETTINGS, *PREVIOUS_KEK_SETTINGS)
        if name != active_kek_setting(settings) and getattr(settings, name) is not None
    ]


def required_kek_settings(settings: Settings) -> tuple[str, ...]:
    """The settings to `require` so that a KEK can encrypt: none if one is set already."""
    return () if active_kek_setting(settings) else ("passphrase",)


def vault_location(settings: Settings) -> str:
    """Where private keys are stored, in the syntax of TOKENSVC_VAULT.

    Raises SettingsError for a directory of one machine when the store is PostgreSQL, which several machines may use.
    """
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    is_postgres = url.startswith("postgres")
    location = settings.vault or (IN_STORE if is_postgres else DEFAULT_FILES)
    if is_postgres and location.startswith(FILES):
        shared = SHARED_FILES + location.removeprefix(FILES)
        rule = (
            "must be a vault that every machine can read, because the store is PostgreSQL: set it to `store`, or to "
            f"`{shared}` if all machines share that directory"
        )
        raise SettingsError([FieldError("TOKENSVC_VAULT", rule)])
    return location


def open_vault(settings: Settings, store: Store, cipher: SecretCipher) -> Vault:
    """Open the vault that the settings name. Raises SettingsError."""
    return open_vault_at(vault_location(settings), store, cipher)


def open_vault_at(location: str, store: Store, cipher: SecretCipher) -> Vault:
    """Open the vault at a location as `vault_location` returns it."""
    if location == IN_STORE:
        from tokensvc.storage.vault import SqlVault

        return SqlVault(store.engine, cipher)
    return KeyFiles(Path(location.partition(":")[2]), cipher)


def make_cipher(settings: Settings, store: Store) -> SecretCipher:
    """The cipher of the configured KEKs, verified against the store's KEK registry; registers a new active KEK.

    Raises SettingsError when no KEK is set, WrongPassphrase, WrappingKeyUnknown or WrappingKeyUnavailable.
    """
    return register_kek(store.kek_registry, *_keks(settings, store))


def make_read_only_cipher(settings: Settings, store: Store) -> SecretCipher:
    """The same for read-only commands: requires the KEKs to be registered already, and registers none."""
    keys = _keks(settings, store)
    require_registered_kek(store.kek_registry.list(), *keys)
    return SecretCipher(*keys)


def make_rewrap_context(
    settings: Settings, store: Store, cipher: SecretCipher, report: Callable[[str], None], requester: Requester
) -> rewrap.RewrapContext:
    """The context for moving secrets to the active KEK."""
    return rewrap.RewrapContext(
        vault=open_vault(settings, store, cipher),
        deployment=store.deployment,
        kek_registry=store.kek_registry,
        cipher=cipher,
        requester=requester,
        report=report,
    )


def check_subject_key(store: Store, cipher: SecretCipher) -> None:
    """Decrypt the newest subject key, as every worker must, so that a KMS that refuses is reported at startup."""
    try:
        subject_keys = store.deployment.subject_keys()
    except SubjectKeyLost:  # readiness reports it, and requests without a subject are still served
        return
    for key in subject_keys[:1]:
        try:
            cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
        except (InvalidKey, WrappingKeyUnknown) as failure:  # name the secret
            raise type(failure)(f"the store's {SUBJECT_KEY_PURPOSE}: {failure.message}") from None


def _keks(settings: Settings, store: Store) -> list[WrappingKey]:
    require(settings, *required_kek_settings(settings))
    deployment = store.deployment.read()
    names = (str(active_kek_setting(settings)), *decrypt_only_settings(settings))
    return [_kek(getattr(settings, name), deployment) for name in names]


def _kek(given: str | SecretStr, deployment: Deployment) -> WrappingKey:
    if isinstance(given, str):
        from tokensvc.aws.kms import KmsKey  # loads boto3

        return KmsKey(given, deployment.id)
    return PassphraseKey(given.get_secret_value(), deployment.passphrase_salt)
