"""Assembly of what keeps secrets: settings and store -> wrapping keys, vault.

Rules of the file
- What wraps: the DESCRIBE_KMS_KEY key when one is set, else the passphrase. Whatever else is set only opens.
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
from tokensvc.vault.cipher import Wrapper, establish, require_known
from tokensvc.vault.kek import PassphraseKey, WrappingKey
from tokensvc.vault.key_files import KeyFiles
from tokensvc.vault.store import Vault

IN_STORE, FILES, SHARED_FILES = "store", "file:", "shared-file:"
DEFAULT_FILES = f"{FILES}keys"

WRAP = ("kms_key_arn", "passphrase")
"""The first of these that is set wraps."""
ONLY_OPEN = ("previous_kms_key_arn", "previous_passphrase")


def wraps(settings: Settings) -> str | None:
    """The setting whose key wraps."""
    return next((name for name in WRAP if getattr(settings, name) is not None), None)


def only_open(settings: Settings) -> list[str]:
    """The settings whose keys open what they wrapped before."""
    return [n for n in (*WRAP, *ONLY_OPEN) if n != wraps(settings) and getattr(settings, n) is not None]


def wrapping_wanted(settings: Settings) -> tuple[str, ...]:
    """What `require` must find so that something wraps: nothing more where something does."""
    return () if wraps(settings) else ("passphrase",)


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
    return vault_at(vault_in(settings), store, wrapper)


def vault_at(chosen: str, store: Store, wrapper: Wrapper) -> Vault:
    """The vault that is named as the setting names it."""
    if chosen == IN_STORE:
        return SqlVault(store.engine, wrapper)
    return KeyFiles(Path(chosen.partition(":")[2]), wrapper)


def wrapper_of(settings: Settings, store: Store) -> Wrapper:
    """The wrapping keys in force, proven against the store's list.

    Raises SettingsError when nothing is set to wrap with, WrongPassphrase, WrappingKeyUnknown or
    WrappingKeyUnavailable.
    """
    return establish(store.wrappings, *_wrapping_keys(settings, store))


def wrapper_to_look(settings: Settings, store: Store) -> Wrapper:
    """The same for whoever only looks: a current key that is new to the store does not join its list."""
    keys = _wrapping_keys(settings, store)
    require_known(store.wrappings.list(), *keys)
    return Wrapper(*keys)


def rewrapping_of(
    settings: Settings, store: Store, wrapper: Wrapper, report: Callable[[str], None]
) -> rewrap.RewrapContext:
    """What secrets are moved to the current wrapping key with."""
    return rewrap.RewrapContext(
        vault=vault_of(settings, store, wrapper),
        deployment=store.deployment,
        known=store.wrappings,
        wrapper=wrapper,
        report=report,
    )


def see_that_it_opens(store: Store, wrapper: Wrapper) -> None:
    """Open the newest subject key, which every worker must: a DESCRIBE_KMS_KEY that refuses is told at the start, by name."""
    try:
        kept = store.deployment.subject_keys()
    except SubjectKeyLost:  # readiness says it; what needs no subject is served all the same
        return
    for key in kept[:1]:
        try:
            wrapper.unwrap_secret(SUBJECT_KEY_PURPOSE, key.wrapped)
        except (InvalidKey, WrappingKeyUnknown) as failure:  # they speak of "it"
            raise type(failure)(f"the store's {SUBJECT_KEY_PURPOSE}: {failure.message}") from None


def _wrapping_keys(settings: Settings, store: Store) -> list[WrappingKey]:
    require(settings, *wrapping_wanted(settings))
    deployment = store.deployment.read()
    names = (str(wraps(settings)), *only_open(settings))
    return [_wrapping_key(getattr(settings, name), deployment) for name in names]


def _wrapping_key(given: str | SecretStr, deployment: Deployment) -> WrappingKey:
    if isinstance(given, str):
        return KmsKey(given, deployment.id)
    return PassphraseKey(given.get_secret_value(), deployment.passphrase_salt)
