"""Assembly of what keeps secrets: settings and store -> wrapping keys, vault.

Rules of the file
- What wraps: the KMS key when one is set, else the passphrase. Whatever else is set only opens.
- Several machines means one vault: with PostgreSQL it is the store, or a directory that is said to be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tokensvc import rewrap
from tokensvc.adapters.keyfiles import KeyFiles
from tokensvc.adapters.kms import KmsKey
from tokensvc.adapters.sql.store import Store
from tokensvc.adapters.sql.vault import SqlVault
from tokensvc.core.viewer import SUBJECT_KEY_PURPOSE
from tokensvc.core.wrapping import PassphraseKey
from tokensvc.errors import FieldError, SettingsError
from tokensvc.ports.vault import Vault
from tokensvc.ports.wrapping import WrappingKey
from tokensvc.settings import Settings, require
from tokensvc.wrap import Wrapper, establish

IN_STORE, FILES, SHARED_FILES = "store", "keys:", "shared-keys:"
DEFAULT_FILES = f"{FILES}keys"


def wrapping_settings(settings: Settings) -> tuple[str, ...]:
    """Which setting `require` must find so that something wraps: none besides the KMS key."""
    return () if settings.kms_key_arn else ("passphrase",)


def vault_in(settings: Settings) -> str:
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


def vault_of(settings: Settings, store: Store, wrapper: Wrapper) -> Vault:
    """The vault that the settings name. Raises SettingsError."""
    chosen = vault_in(settings)
    if chosen == IN_STORE:
        return SqlVault(store.engine, wrapper)
    return KeyFiles(Path(chosen.partition(":")[2]), wrapper)


def wrapper_of(settings: Settings, store: Store) -> Wrapper:
    """The wrapping keys in force, proven against the store's list.

    Raises SettingsError when nothing is set to wrap with, WrongPassphrase, WrappingKeyUnknown or
    WrappingKeyUnavailable.
    """
    return establish(store.wrappings, *wrapping_keys_of(settings, store))


def wrapping_keys_of(settings: Settings, store: Store) -> list[WrappingKey]:
    """The wrapping keys that are set, the current one first. Raises SettingsError when none wraps. Proves nothing."""
    require(settings, *wrapping_settings(settings))
    return list(_wrapping_keys(settings, store))


def rewrapping_of(settings: Settings, store: Store, wrapper: Wrapper, report: Callable[[str], None]) -> rewrap.World:
    """What secrets are moved to the current wrapping key with."""
    return rewrap.World(vault_of(settings, store, wrapper), store.deployment, store.wrappings, wrapper, report)


def see_that_it_opens(store: Store, wrapper: Wrapper) -> None:
    """Open the newest subject key, which every worker must: a KMS that refuses is told at the start, by name."""
    for key in store.deployment.subject_keys()[:1]:
        wrapper.unwrap_secret(SUBJECT_KEY_PURPOSE, key.wrapped)


def _wrapping_keys(settings: Settings, store: Store) -> Iterator[WrappingKey]:
    deployment = store.deployment.read()
    pairs = (settings.kms_key_arn, settings.passphrase), (settings.previous_kms_key_arn, settings.previous_passphrase)
    for arn, passphrase in pairs:
        if arn:
            yield KmsKey(arn, deployment.id)
        if passphrase:
            yield PassphraseKey(passphrase.get_secret_value(), deployment.passphrase_salt)
