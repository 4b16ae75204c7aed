"""The vault in a directory: its files are encrypted, accessible to their owner only, and complete or absent."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.keks import CIPHER, NEW, OLD, FakeKms, passphrase
from tests.vault.vault_contract import *  # noqa: F403 - the suite's tests become this module's
from tests.vault.vault_contract import OpenVault
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import InsecureKeyFile, InvalidKey, VaultError, WrongPassphrase
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.key_files import KeyFiles


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys"


@pytest.fixture
def open_vault(directory: Path) -> OpenVault:
    return lambda cipher: KeyFiles(directory, cipher)


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Limit files to 100 bytes."""
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_key_file_is_encrypted_and_accessible_to_its_owner_only(
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
    assert b"\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n" in path.read_bytes()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_decrypts_a_key_file_with_the_password_only(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    vault.put("k1", private_key)
    command = ["openssl", "pkey", "-in", str(directory / "k1.pem"), "-pubout", "-passin"]
    printed = subprocess.run([*command, f"pass:{OLD}"], capture_output=True, check=True)
    assert printed.stdout.decode() == keypair.public_pem(private_key.public_key())
    assert subprocess.run([*command, "pass:wrong"], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_that_others_can_read_is_rejected_with_the_fixing_command(
    vault: KeyFiles, directory: Path, private_key: PrivateKey, mode: int
) -> None:
    vault.put("k1", private_key)
    (directory / "k1.pem").chmod(mode)
    with pytest.raises(InsecureKeyFile) as raised:
        vault.load("k1")
    assert failure_text(raised.value).endswith(f"; fix it with: chmod 600 {directory / 'k1.pem'}")
    (directory / "k1.pem").chmod(0o400)
    assert vault.load("k1")


def test_an_unnamed_file_of_an_earlier_release_is_decrypted_with_a_passphrase(
    directory: Path, private_key: PrivateKey
) -> None:
    directory.mkdir(parents=True, mode=0o700)
    directory.joinpath("k1.pem").touch(0o600)
    directory.joinpath("k1.pem").write_bytes(keypair.private_pem(private_key, OLD.encode()))
    for cipher in (CIPHER, SecretCipher(passphrase(NEW), passphrase()), SecretCipher(FakeKms(), passphrase())):
        assert KeyFiles(directory, cipher).load("k1").private_numbers() == private_key.private_numbers()
    for cipher in (SecretCipher(passphrase(NEW)), SecretCipher(FakeKms())):
        with pytest.raises(WrongPassphrase):
            KeyFiles(directory, cipher).load("k1")


def test_a_file_that_its_kek_cannot_decrypt_is_damaged(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    vault.put("k1", private_key)
    file = directory / "k1.pem"
    file.write_bytes(file.read_bytes().replace(passphrase().name.encode(), passphrase(NEW).name.encode()))
    with pytest.raises(InvalidKey, match="is damaged"):
        KeyFiles(directory, SecretCipher(passphrase(NEW), passphrase())).load("k1")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_file_is_rejected(vault: KeyFiles, directory: Path, private_key: PrivateKey, content: bytes) -> None:
    vault.put("k1", private_key)
    (directory / "k1.pem").write_bytes(content)
    with pytest.raises(InvalidKey):
        vault.load("k1")


def test_a_temporary_file_of_a_killed_process_is_ignored_and_removed(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    directory.mkdir(parents=True)
    (directory / ".k1.0a1b2c3d.unfinished").write_bytes(b"half a key")
    assert vault.key_ids() == frozenset()
    vault.put("k1", private_key)
    assert vault.load("k1")
    assert vault.key_ids() == {"k1"}
    vault.remove("k1")
    assert not list(directory.iterdir())


def test_other_files_are_ignored(vault: KeyFiles, directory: Path) -> None:
    directory.mkdir(parents=True)
    for name in ("README.md", ".gitignore", "Backup.pem", "a b.pem", "k1.pem.bak"):
        (directory / name).write_text("")
    assert vault.key_ids() == frozenset()


def test_the_error_names_a_directory_that_cannot_be_created(tmp_path: Path, private_key: PrivateKey) -> None:
    (tmp_path / "keys").write_text("a file")
    vault = KeyFiles(tmp_path / "keys", CIPHER)
    with pytest.raises(VaultError, match=r"cannot be stored in .*keys: ") as raised:
        vault.put("k1", private_key)
    assert "overwritten" not in raised.value.message
    with pytest.raises(VaultError):
        vault.load("k1")


def test_a_full_disk_leaves_no_file_behind(vault: KeyFiles, directory: Path, private_key: PrivateKey) -> None:
    """A limit on the file size makes the write fail, like a full disk."""
    with small_files(), pytest.raises(VaultError, match="cannot be stored"):
        vault.put("k1", private_key)
    assert not list(directory.iterdir())
    vault.put("k1", private_key)


def test_a_dangling_symbolic_link_is_not_followed(vault: KeyFiles, directory: Path, private_key: PrivateKey) -> None:
    """Its name counts as taken."""
    directory.mkdir(parents=True)
    (directory / "k1.pem").symlink_to(directory / "elsewhere")
    with pytest.raises(VaultError, match="not overwritten"):
        vault.put("k1", private_key)
    assert not (directory / "elsewhere").exists()


def test_exactly_one_of_several_simultaneous_puts_succeeds(vault: KeyFiles, directory: Path) -> None:
    keys, stored, ready = [keypair.generate() for _ in range(6)], [], threading.Barrier(6, timeout=5)

    def put(key: PrivateKey) -> None:
        ready.wait()
        try:
            KeyFiles(directory, CIPHER).put("k1", key)
        except VaultError:
            return
        stored.append(key)

    threads = [threading.Thread(target=put, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = stored
    assert vault.load("k1").private_numbers() == winner.private_numbers()


def test_a_repr_contains_no_passphrase(vault: KeyFiles) -> None:
    assert OLD not in repr(vault) + repr(vars(vault))


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_can_write_to_is_rejected_with_the_fixing_command(
    vault: KeyFiles, directory: Path, private_key: PrivateKey, mode: int
) -> None:
    """They could replace a key file by another one."""
    vault.put("k1", private_key)
    before = vault.read_envelope("k1")
    directory.chmod(mode)
    for operation in (
        lambda: vault.load("k1"),
        lambda: vault.put("k2", private_key),
        lambda: vault.replace("k1", before, before),
    ):
        with pytest.raises(InsecureKeyFile) as raised:
            operation()
        assert failure_text(raised.value).endswith(f"; fix it with: chmod 700 {directory}")
    directory.chmod(0o755)
    assert vault.load("k1")
    assert vault.key_ids() == {"k1"}


def test_a_replacement_restores_the_mode_and_removes_temporary_files(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    vault.put("k1", private_key)
    (directory / ".k1.0a1b2c3d.unfinished").write_bytes(b"half a key")
    (directory / "k1.pem").chmod(0o400)
    assert vault.replace("k1", vault.read_envelope("k1"), CIPHER.encrypt_key(private_key))
    [path] = directory.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert vault.load("k1")


def test_a_full_disk_leaves_the_old_envelope(vault: KeyFiles, directory: Path, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    before = vault.read_envelope("k1")
    with small_files(), pytest.raises(VaultError, match="cannot be rewrapped"):
        vault.replace("k1", before, CIPHER.encrypt_key(private_key))
    assert [path.name for path in directory.iterdir()] == ["k1.pem"]
    assert vault.read_envelope("k1") == before


def test_simultaneous_replacements_and_removals_are_serialized(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    """One of six replacements succeeds. If one thread removes the envelope while five replace it, it stays removed."""
    for removing in (False, True):
        vault.put("k1", private_key)
        before, ready = vault.read_envelope("k1"), threading.Barrier(6, timeout=5)
        won: list[int] = []

        def act(number: int, expected: bytes, ready: threading.Barrier, won: list[int], removing: bool) -> None:
            files, rewrapped = KeyFiles(directory, CIPHER), CIPHER.encrypt_key(private_key)
            ready.wait()
            if removing and number == 0:
                files.remove("k1")
            elif files.replace("k1", expected, rewrapped):
                won.append(number)

        threads = [threading.Thread(target=act, args=(number, before, ready, won, removing)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) <= 1 if removing else len(won) == 1
        assert vault.key_ids() == (frozenset() if removing else {"k1"})
        vault.remove("k1")
    assert not list(directory.iterdir())


OTHER_UID = 4242
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@contextlib.contextmanager
def running_as(uid: int) -> Iterator[None]:
    """Run as another user."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user can access, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@as_root
def test_a_directory_of_another_user_is_rejected_with_the_fixing_command(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    """Its owner could replace any key file."""
    vault.put("k1", private_key)
    before = vault.read_envelope("k1")
    os.chown(directory, OTHER_UID, -1)
    for operation in (
        lambda: vault.load("k1"),
        lambda: vault.put("k2", private_key),
        lambda: vault.replace("k1", before, before),
    ):
        with pytest.raises(InsecureKeyFile, match=rf"{directory} is owned by uid {OTHER_UID}.*: chown 0 {directory}$"):
            operation()
    assert [path.name for path in directory.iterdir()] == ["k1.pem"]
    assert directory.joinpath("k1.pem").read_bytes() == before
    os.chown(directory, 0, -1)
    assert vault.load("k1")


@as_root
def test_a_key_file_of_another_user_is_rejected_with_the_fixing_command(
    vault: KeyFiles, directory: Path, private_key: PrivateKey
) -> None:
    vault.put("k1", private_key)
    before, path = vault.read_envelope("k1"), directory / "k1.pem"
    os.chown(path, OTHER_UID, -1)
    for operation in (lambda: vault.load("k1"), lambda: vault.replace("k1", before, before)):
        with pytest.raises(InsecureKeyFile, match=rf"{path} is owned by uid {OTHER_UID}.*: chown 0 {path}$"):
            operation()
    assert path.stat().st_uid == OTHER_UID
    vault.remove("k1")
    assert vault.key_ids() == frozenset(), "a key can be removed, no matter which user owns its file"


@as_root
def test_the_effective_user_and_root_may_own_a_key_directory_and_nobody_else(
    reachable: Path, private_key: PrivateKey
) -> None:
    directory, nobody = reachable / "keys", 65534
    KeyFiles(directory, CIPHER).put("k1", private_key)
    os.chown(directory / "k1.pem", nobody, -1)
    directory.chmod(0o755)
    with running_as(nobody):
        assert KeyFiles(directory, CIPHER).load("k1"), "root's directory, this user's file"
    os.chown(directory, nobody, -1)
    with running_as(nobody):
        assert KeyFiles(directory, CIPHER).load("k1")
    os.chown(directory, OTHER_UID, -1)
    with running_as(nobody), pytest.raises(InsecureKeyFile, match=f"chown {nobody} {directory}$"):
        KeyFiles(directory, CIPHER).load("k1")


@as_root
def test_the_target_of_a_linked_directory_is_checked(
    vault: KeyFiles, directory: Path, private_key: PrivateKey, tmp_path: Path
) -> None:
    vault.put("k1", private_key)
    link = tmp_path / "link"
    link.symlink_to(directory)
    os.chown(link, OTHER_UID, -1, follow_symlinks=False)
    assert KeyFiles(link, CIPHER).load("k1")
    os.chown(directory, OTHER_UID, -1)
    with pytest.raises(InsecureKeyFile):
        KeyFiles(link, CIPHER).load("k1")


def test_a_key_file_that_is_a_link_or_a_pipe_is_not_read(
    vault: KeyFiles, directory: Path, private_key: PrivateKey, tmp_path: Path
) -> None:
    vault.put("k1", private_key)
    (directory / "k1.pem").rename(tmp_path / "elsewhere.pem")
    (directory / "k1.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(InsecureKeyFile, match=rf"{directory / 'k1.pem'} is a symbolic link"):
        vault.load("k1")
    os.mkfifo(directory / "k2.pem", 0o600)
    with pytest.raises(VaultError, match=r"k2\.pem is not a regular file"):
        vault.load("k2")
