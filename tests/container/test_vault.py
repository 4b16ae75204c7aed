"""The vault and its key-encryption keys, as the settings select them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.keks import FakeKms
from tests.test_settings import KMS_KEY_ARN
from tokensvc.container import vault as container_vault
from tokensvc.errors import SettingsError, WrappingKeyUnavailable, WrongPassphrase
from tokensvc.settings import Settings, read_settings
from tokensvc.storage.store import Store, open_store
from tokensvc.storage.vault import SqlVault
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.kek import PassphraseKey
from tokensvc.vault.key_files import KeyFiles

SQLITE, POSTGRES = "sqlite:////var/lib/tokensvc/store.db", "postgresql://tokensvc@db/tokensvc"
OLD, NEW = "0a" * 32, "0b" * 32


def settings(**environ: str) -> Settings:
    return read_settings({f"TOKENSVC_{name}": value for name, value in environ.items()})


@pytest.mark.parametrize(
    ("url", "vault", "expected"),
    [
        pytest.param(SQLITE, None, "file:keys", id="SQLite by default"),
        pytest.param(SQLITE, "file:/srv/keys", "file:/srv/keys", id="SQLite and files"),
        pytest.param(SQLITE, "shared-file:/srv/keys", "shared-file:/srv/keys", id="SQLite and shared files"),
        pytest.param(SQLITE, "store", "store", id="SQLite and the store"),
        pytest.param(POSTGRES, None, "store", id="PostgreSQL by default"),
        pytest.param(POSTGRES.replace("://", "+psycopg://"), None, "store", id="PostgreSQL by its driver"),
        pytest.param(POSTGRES.replace("postgresql", "postgres"), None, "store", id="PostgreSQL by its short name"),
        pytest.param(POSTGRES, "shared-file:/srv/keys", "shared-file:/srv/keys", id="PostgreSQL and shared files"),
        pytest.param(POSTGRES, "store", "store", id="PostgreSQL and the store"),
        pytest.param(None, None, "file:keys", id="no store yet"),
    ],
)
def test_the_vault_follows_from_the_settings(url: str | None, vault: str | None, expected: str, store: Store) -> None:
    given = {"DATABASE_URL": url, "VAULT": vault}
    chosen_settings = settings(**{name: value for name, value in given.items() if value})
    assert container_vault.vault_location(chosen_settings) == expected
    vault_opened = container_vault.open_vault(chosen_settings, store, SecretCipher(PassphraseKey(OLD, b"salt")))
    assert isinstance(vault_opened, SqlVault if expected == "store" else KeyFiles)


def test_a_directory_of_one_machine_is_rejected_with_postgresql() -> None:
    with pytest.raises(SettingsError) as raised:
        container_vault.vault_location(settings(DATABASE_URL=POSTGRES, VAULT="file:/srv/keys"))
    [error] = raised.value.errors
    assert error.field == "TOKENSVC_VAULT"
    assert "`store`, or to `shared-file:/srv/keys` if all machines share" in error.message


@pytest.fixture
def store_with_kek(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """A store whose secrets are encrypted with the old passphrase."""
    path = tmp_path / "store.db"
    path.write_bytes(migrated.read_bytes())
    opened = open_store(f"sqlite:///{path}")
    container_vault.make_cipher(settings(PASSPHRASE=OLD), opened)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("environ", "kinds"),
    [
        pytest.param({"PASSPHRASE": OLD}, ["passphrase"], id="a passphrase"),
        pytest.param({"KMS_KEY_ARN": KMS_KEY_ARN}, ["kms"], id="a KMS key"),
        pytest.param({"KMS_KEY_ARN": KMS_KEY_ARN, "PASSPHRASE": OLD}, ["kms", "passphrase"], id="to KMS"),
        pytest.param(
            {"PREVIOUS_KMS_KEY_ARN": KMS_KEY_ARN, "PASSPHRASE": OLD},
            ["passphrase", "kms"],
            id="from KMS to a passphrase",
        ),
        pytest.param(
            {"PREVIOUS_PASSPHRASE": OLD, "PASSPHRASE": NEW}, ["passphrase", "passphrase"], id="to another passphrase"
        ),
        pytest.param(
            {"KMS_KEY_ARN": KMS_KEY_ARN, "PREVIOUS_PASSPHRASE": OLD},
            ["kms", "passphrase"],
            id="to KMS, with the previous passphrase",
        ),
    ],
)
def test_the_kms_key_encrypts_if_it_is_set_else_the_passphrase(
    store_with_kek: Store, environ: dict[str, str], kinds: list[str]
) -> None:
    keys = container_vault._keks(settings(**environ), store_with_kek)
    assert [key.name.partition(":")[0] for key in keys] == kinds
    salt = store_with_kek.deployment.read().passphrase_salt
    if environ.get("PASSPHRASE") == NEW:
        assert [key.name for key in keys] == [PassphraseKey(NEW, salt).name, PassphraseKey(OLD, salt).name]


@pytest.mark.parametrize("previous", ["PREVIOUS_PASSPHRASE", "PREVIOUS_KMS_KEY_ARN"])
def test_previous_keks_decrypt_but_never_encrypt(store_with_kek: Store, previous: str) -> None:
    value = OLD if previous == "PREVIOUS_PASSPHRASE" else KMS_KEY_ARN
    with pytest.raises(SettingsError, match="TOKENSVC_PASSPHRASE: must be set"):
        container_vault.make_cipher(settings(**{previous: value}), store_with_kek)


def test_a_wrong_passphrase_is_rejected_and_a_changed_one_is_registered(store_with_kek: Store) -> None:
    for wrong in ({"PASSPHRASE": NEW}, {"PASSPHRASE": NEW, "PREVIOUS_PASSPHRASE": "0c" * 32}):
        with pytest.raises(WrongPassphrase, match="the passphrase is not the one that this store"):
            container_vault.make_cipher(settings(**wrong), store_with_kek)
    assert len(store_with_kek.kek_registry.list()) == 1
    container_vault.make_cipher(settings(PASSPHRASE=NEW, PREVIOUS_PASSPHRASE=OLD), store_with_kek)
    assert len(store_with_kek.kek_registry.list()) == 2


def test_an_unavailable_kek_for_the_subject_key_prevents_startup(store_with_kek: Store) -> None:
    """Every worker must decrypt it, so the error is reported once before any worker starts."""
    kms = FakeKms()
    cipher = SecretCipher(kms)
    container_vault.check_subject_key(store_with_kek, cipher)  # there is no subject key yet
    store_with_kek.deployment.add_subject_key(1, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, b"secret"))
    container_vault.check_subject_key(store_with_kek, cipher)
    kms.unavailable = True
    with pytest.raises(WrappingKeyUnavailable, match="does not respond"):
        container_vault.check_subject_key(store_with_kek, cipher)


def test_a_read_only_cipher_registers_nothing(store_with_kek: Store) -> None:
    listed = store_with_kek.kek_registry.list()
    read_only = container_vault.make_read_only_cipher(settings(PASSPHRASE=NEW, PREVIOUS_PASSPHRASE=OLD), store_with_kek)
    assert len(read_only.names) == 2
    assert store_with_kek.kek_registry.list() == listed
    with pytest.raises(WrongPassphrase):
        container_vault.make_read_only_cipher(settings(PASSPHRASE=NEW), store_with_kek)
