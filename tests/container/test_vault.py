"""From settings to a vault and its wrapping keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.keks import FakeKms
from tests.test_settings import KMS_KEY_ARN
from tokensvc.container import vault as vaulting
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
def test_where_private_keys_rest(url: str | None, vault: str | None, expected: str, store: Store) -> None:
    given = {"DATABASE_URL": url, "VAULT": vault}
    chosen = settings(**{name: value for name, value in given.items() if value})
    assert vaulting.vault_location(chosen) == expected
    made = vaulting.open_vault(chosen, store, SecretCipher(PassphraseKey(OLD, b"salt")))
    assert isinstance(made, SqlVault if expected == "store" else KeyFiles)


def test_a_directory_of_one_machine_is_refused_where_there_may_be_several() -> None:
    with pytest.raises(SettingsError) as refused:
        vaulting.vault_location(settings(DATABASE_URL=POSTGRES, VAULT="file:/srv/keys"))
    [error] = refused.value.errors
    assert error.field == "TOKENSVC_VAULT"
    assert "`store`, or to `shared-file:/srv/keys` if all machines share" in error.message


@pytest.fixture
def kept(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """A store whose secrets are under the old passphrase."""
    path = tmp_path / "store.db"
    path.write_bytes(migrated.read_bytes())
    opened = open_store(f"sqlite:///{path}")
    vaulting.make_cipher(settings(PASSPHRASE=OLD), opened)
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
            {"KMS_KEY_ARN": KMS_KEY_ARN, "PREVIOUS_PASSPHRASE": OLD}, ["kms", "passphrase"], id="to KMS, spelled out"
        ),
    ],
)
def test_the_kms_key_wraps_when_there_is_one_else_the_passphrase(
    kept: Store, environ: dict[str, str], kinds: list[str]
) -> None:
    keys = vaulting._keks(settings(**environ), kept)
    assert [key.name.partition(":")[0] for key in keys] == kinds
    salt = kept.deployment.read().passphrase_salt
    if environ.get("PASSPHRASE") == NEW:
        assert [key.name for key in keys] == [PassphraseKey(NEW, salt).name, PassphraseKey(OLD, salt).name]


@pytest.mark.parametrize("only", ["PREVIOUS_PASSPHRASE", "PREVIOUS_KMS_KEY_ARN"])
def test_what_only_opens_wraps_nothing(kept: Store, only: str) -> None:
    value = OLD if only == "PREVIOUS_PASSPHRASE" else KMS_KEY_ARN
    with pytest.raises(SettingsError, match="TOKENSVC_PASSPHRASE: must be set"):
        vaulting.make_cipher(settings(**{only: value}), kept)


def test_a_start_with_a_wrong_passphrase_fails_by_name_and_a_change_of_it_starts(kept: Store) -> None:
    for wrong in ({"PASSPHRASE": NEW}, {"PASSPHRASE": NEW, "PREVIOUS_PASSPHRASE": "0c" * 32}):
        with pytest.raises(WrongPassphrase, match="the passphrase is not the passphrase"):
            vaulting.make_cipher(settings(**wrong), kept)
    assert len(kept.kek_registry.list()) == 1
    vaulting.make_cipher(settings(PASSPHRASE=NEW, PREVIOUS_PASSPHRASE=OLD), kept)
    assert len(kept.kek_registry.list()) == 2


def test_a_wrapping_key_that_cannot_open_the_subject_key_stops_the_start(kept: Store) -> None:
    """Every worker must open it: better said once, before any is started."""
    kms = FakeKms()
    cipher = SecretCipher(kms)
    vaulting.check_subject_key(kept, cipher)  # there is none yet
    kept.deployment.add_subject_key(1, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, b"secret"))
    vaulting.check_subject_key(kept, cipher)
    kms.away = True
    with pytest.raises(WrappingKeyUnavailable, match="does not answer"):
        vaulting.check_subject_key(kept, cipher)


def test_whoever_only_looks_changes_nothing(kept: Store) -> None:
    listed = kept.kek_registry.list()
    looking = vaulting.make_read_only_cipher(settings(PASSPHRASE=NEW, PREVIOUS_PASSPHRASE=OLD), kept)
    assert len(looking.names) == 2
    assert kept.kek_registry.list() == listed
    with pytest.raises(WrongPassphrase):
        vaulting.make_read_only_cipher(settings(PASSPHRASE=NEW), kept)
