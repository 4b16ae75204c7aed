"""The vault as a directory: what lies there is encrypted, for its owner alone, and complete or absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.adapters.vault_contract import *  # noqa: F403 - the suite's tests become this module's
from tokensvc.adapters.keyfiles import KeyFiles
from tokensvc.core import keypair
from tokensvc.core.keypair import PrivateKey
from tokensvc.errors import InvalidKey, KeyFileTooOpen, VaultError, WrongPassphrase

PASSWORD = b"a vault's password"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys"


@pytest.fixture
def vault(directory: Path) -> KeyFiles:
    return KeyFiles(directory, PASSWORD)


def test_a_key_lies_encrypted_and_for_its_owner_alone(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    before = os.umask(0)
    try:
        vault.put("k1", private_key)
    finally:
        os.umask(before)
    [path] = directory.iterdir()
    assert path.name == "k1.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_nlink == 1
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_opens_it_with_the_password_and_not_without(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    vault.put("k1", private_key)
    command = ["openssl", "pkey", "-in", str(directory / "k1.pem"), "-pubout", "-passin"]
    opened = subprocess.run([*command, f"pass:{PASSWORD.decode()}"], capture_output=True, check=True)
    assert opened.stdout.decode() == keypair.public_pem(private_key.public_key())
    assert subprocess.run([*command, "pass:wrong"], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_that_others_may_read_is_refused_with_the_command_that_mends_it(
    vault: KeyFiles, directory: Path, private_key: PrivateKey, mode: int
) -> None:
    vault.put("k1", private_key)
    (directory / "k1.pem").chmod(mode)
    with pytest.raises(KeyFileTooOpen, match=f"chmod 600 {directory / 'k1.pem'}"):
        vault.open("k1")
    (directory / "k1.pem").chmod(0o400)
    assert vault.open("k1")


def test_another_password_opens_nothing(vault: KeyFiles, directory: Path, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    with pytest.raises(WrongPassphrase):
        KeyFiles(directory, b"another").open("k1")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_file_is_refused(vault: KeyFiles, directory: Path, private_key: PrivateKey, content: bytes) -> None:
    vault.put("k1", private_key)
    (directory / "k1.pem").write_bytes(content)
    with pytest.raises(InvalidKey):
        vault.open("k1")


def test_what_a_killed_process_left_behind_is_no_key_and_in_nobodys_way(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    directory.mkdir(parents=True)
    (directory / ".k1.0a1b2c3d.unfinished").write_bytes(b"half a key")
    assert vault.key_ids() == frozenset()
    vault.put("k1", private_key)
    assert vault.open("k1")
    assert vault.key_ids() == {"k1"}
    vault.remove("k1")
    assert not list(directory.iterdir())


def test_other_files_are_no_keys(vault: KeyFiles, directory: Path) -> None:
    directory.mkdir(parents=True)
    for name in ("README.md", ".gitignore", "Backup.pem", "a b.pem", "k1.pem.bak"):
        (directory / name).write_text("")
    assert vault.key_ids() == frozenset()


def test_where_no_directory_can_be_is_said(tmp_path: Path, private_key: PrivateKey) -> None:
    (tmp_path / "keys").write_text("a file")
    vault = KeyFiles(tmp_path / "keys", PASSWORD)
    with pytest.raises(VaultError, match=r"cannot be kept in .*keys: ") as refused:
        vault.put("k1", private_key)
    assert "overwritten" not in refused.value.message
    with pytest.raises(VaultError):
        vault.open("k1")


def test_a_link_is_not_followed_to_another_name(vault: KeyFiles, directory: Path, private_key: PrivateKey) -> None:
    """A name that is taken is taken, even by a link that leads nowhere."""
    directory.mkdir(parents=True)
    (directory / "k1.pem").symlink_to(directory / "elsewhere")
    with pytest.raises(VaultError, match="not overwritten"):
        vault.put("k1", private_key)
    assert not (directory / "elsewhere").exists()


def test_of_two_who_put_at_once_exactly_one_succeeds(vault: KeyFiles, directory: Path) -> None:
    keys, outcomes, ready = [keypair.generate() for _ in range(6)], [], threading.Barrier(6, timeout=5)

    def put(key: PrivateKey) -> None:
        ready.wait()
        try:
            KeyFiles(directory, PASSWORD).put("k1", key)
        except VaultError:
            return
        outcomes.append(key)

    threads = [threading.Thread(target=put, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = outcomes
    assert vault.open("k1").private_numbers() == winner.private_numbers()


def test_no_password_shows(vault: KeyFiles) -> None:
    assert PASSWORD.decode() not in repr(vault)
