"""Assembly of what keeps secrets: settings and store -> wrapping keys, vault.

Rules of the file
- What wraps: the KMS key when one is set, else the passphrase. Whatever else is set only opens.
- Several machines means one vault: with PostgreSQL it is the store, or a directory that is said to be shared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from tokensvc.aws.kms import KmsKey
from tokensvc.deployment.record import Deployment
from tokensvc.errors import FieldError, InvalidKey, SettingsError, SubjectKeyLost, WrappingKeyUnknown
from tokensvc.keys import rewrap
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store
from tokensvc.storage.vault import SqlVault
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import SecretCipher, register_kek, require_registered_kek
from tokensvc.vault.kek import PassphraseKey, WrappingKey
from tokensvc.vault.key_files import KeyFiles
from tokensvc.vault.store import Vault

IN_STORE, FILES, SHARED_FILES = "store", "file:", "shared-file:"
DEFAULT_FILES = f"{FILES}keys"

ACTIVE_KEK_SETTINGS = ("kms_key_arn", "passphrase")
"""The first of these that is set wraps."""
PREVIOUS_KEK_SETTINGS = ("previous_kms_key_arn", "previous_passphrase")


def active_kek_setting(settings: Settings) -> str | None:
    """The setting whose key wraps."""
    return next((name for name in ACTIVE_KEK_SETTINGS if getattr(settings, name) is not None), None)


def decrypt_only_settings(settings: Settings) -> list[str]:
    """The settings whose keys open what they wrapped before."""
    return [
        n
        for n in (*ACTIVE_KEK_SETTINGS, *PREVIOUS_KEK_SETTINGS)
        if n != active_kek_setting(settings) and getattr(settings, n) is not None
    ]


def required_kek_settings(settings: Settings) -> tuple[str, ...]:
    """What `require` must find so that something wraps: nothing more where something does."""
    return () if active_kek_setting(settings) else ("passphrase",)


def vault_location(settings: Settings) -> str:
    """Where private keys rest, as the setting would say it.

    Raises SettingsError for a directory of one machine where the store may have several.
    """
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    many_machines = url.startswith("postgres")
    chosen = settings.vault or (IN_STORE if many_machines else DEFAULT_FILES)
    if many_machines and chosen.startswith(FILES):
        shared = SHARED_FILES + chosen.removeprefix(FILES)
        rule = (
            "must be a vault that every machine reads, since the store is PostgreSQL: `store`, or "
            f"`{shared}` if all machines share that directory"
        )
        raise SettingsError([FieldError("TOKENSVC_VAULT", rule)])
    return chosen


def open_vault(settings: Settings, store: Store, cipher: SecretCipher) -> Vault:
    """The vault that the settings name. Raises SettingsError."""
    return open_vault_at(vault_location(settings), store, cipher)


def open_vault_at(signer_choice: str, store: Store, cipher: SecretCipher) -> Vault:
    """The vault that is named as the setting names it."""
    if signer_choice == IN_STORE:
        return SqlVault(store.engine, cipher)
    return KeyFiles(Path(signer_choice.partition(":")[2]), cipher)


def make_cipher(settings: Settings, store: Store) -> SecretCipher:
    """The wrapping keys in force, proven against the store's list.

    Raises SettingsError when nothing is set to wrap with, WrongPassphrase, WrappingKeyUnknown or
    WrappingKeyUnavailable.
    """
    return register_kek(store.kek_registry, *_keks(settings, store))


def make_read_only_cipher(settings: Settings, store: Store) -> SecretCipher:
    """The same for whoever only looks: a current key that is new to the store does not join its list."""
    keys = _keks(settings, store)
    require_registered_kek(store.kek_registry.list(), *keys)
    return SecretCipher(*keys)


def make_rewrap_context(
    settings: Settings, store: Store, cipher: SecretCipher, report: Callable[[str], None]
) -> rewrap.RewrapContext:
    """What secrets are moved to the current wrapping key with."""
    return rewrap.RewrapContext(
        vault=open_vault(settings, store, cipher),
        deployment=store.deployment,
        kek_registry=store.kek_registry,
        cipher=cipher,
        report=report,
    )


def check_subject_key(store: Store, cipher: SecretCipher) -> None:
    """Open the newest subject key, which every worker must: a KMS that refuses is told at the start, by name."""
    try:
        kept = store.deployment.subject_keys()
    except SubjectKeyLost:  # readiness says it; what needs no subject is served all the same
        return
    for key in kept[:1]:
        try:
            cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
        except (InvalidKey, WrappingKeyUnknown) as failure:  # they speak of "it"
            raise type(failure)(f"the store's {SUBJECT_KEY_PURPOSE}: {failure.message}") from None


def _keks(settings: Settings, store: Store) -> list[WrappingKey]:
    require(settings, *required_kek_settings(settings))
    deployment = store.deployment.read()
    names = (str(active_kek_setting(settings)), *decrypt_only_settings(settings))
    return [_kek(getattr(settings, name), deployment) for name in names]


def _kek(given: str | SecretStr, deployment: Deployment) -> WrappingKey:
    if isinstance(given, str):
        return KmsKey(given, deployment.id)
    return PassphraseKey(given.get_secret_value(), deployment.passphrase_salt)
