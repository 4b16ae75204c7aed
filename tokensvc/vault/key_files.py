"""The vault as a directory of encrypted PKCS#8 PEM files, `<key id>.pem`.

Invariants
- A file is complete or absent: it is written under a temporary name with O_EXCL and 0600, synced, then linked to its
  own name, which fails if the name exists. No private key ever overwrites another.
- When a private key is encrypted with another wrapping key, a rename replaces its file while the file is locked, and
  only if its content is still the expected one.
- A file that another user owns or can read is rejected, and so is a directory that another user owns or can write to.
  The error has the command that fixes it. Root may own both.
- Checks use open descriptors, and files are opened, created and renamed relative to the directory's descriptor: a user
  who controls a parent directory cannot swap the directory in between. A key file that is a symbolic link is not read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tokensvc.errors import Action, InsecureKeyFile, PrivateKeyMissing, Remedy, VaultError
from tokensvc.jose.keypair import PrivateKey
from tokensvc.secret_files import InsecureFile, check_owner
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.store import is_key_id, require_key_id


class KeyFiles:
    """Private keys in one directory. Machines may share it if its file system supports locks (NFS 4 does)."""

    def __init__(self, directory: Path, cipher: SecretCipher) -> None:
        self._directory = directory
        self._cipher = cipher

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        path = self._path(key_id)
        envelope = self._cipher.encrypt_key(private_key)
        with _wrap_os_errors(f"the private key cannot be stored in {self._directory}"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._open_directory() as directory:
                self._require_exclusive(directory)
                with _temporary_file(directory, key_id, envelope) as temporary:
                    _link(directory, path, temporary)
                os.fsync(directory)

    def load(self, key_id: str) -> PrivateKey:
        return self._cipher.decrypt_key(self.read_envelope(key_id))

    def remove(self, key_id: str) -> None:
        path = self._path(key_id)
        with _wrap_os_errors(f"the private key {key_id} cannot be removed"):
            try:
                with self._open_directory() as directory:
                    with _locked(directory, path.name) as file:
                        if file is not None:
                            os.unlink(path.name, dir_fd=directory)
                    _sweep(directory, key_id)
                    os.fsync(directory)
            except FileNotFoundError:
                return  # no directory, so no key

    def key_ids(self) -> frozenset[str]:
        return frozenset(p.stem for p in self._directory.glob("*.pem") if is_key_id(p.stem))

    def read_envelope(self, key_id: str) -> bytes:
        path = self._path(key_id)
        with _wrap_os_errors(f"the private key {path} cannot be read"):
            try:
                with self._open_directory() as directory:
                    self._require_exclusive(directory)
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                    with os.fdopen(os.open(path.name, flags, dir_fd=directory), "rb") as file:
                        _require_private(path, file)
                        return file.read()
            except FileNotFoundError:
                raise PrivateKeyMissing(f"there is no private key {path}", subject={"key_id": key_id}) from None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    paths = {"path": str(path), "target": os.path.realpath(path)}
                    raise InsecureKeyFile(
                        f"{path} is a symbolic link; replace it by the file itself",
                        subject={"key_id": key_id, "path": str(path)},
                        remedy=Remedy(Action.REPLACE_SYMLINK, paths),
                    ) from None
                raise

    def replace(self, key_id: str, expected: bytes, envelope: bytes) -> bool:
        path = self._path(key_id)
        with _wrap_os_errors(f"the private key {key_id} cannot be rewrapped"):
            try:
                with self._open_directory() as directory, _locked(directory, path.name) as file:
                    if file is None or file.read() != expected:
                        return False
                    self._require_exclusive(directory)
                    _require_private(path, file)
                    _sweep(directory, key_id)
                    with _temporary_file(directory, key_id, envelope) as temporary:
                        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
                    os.fsync(directory)
                    return True
            except FileNotFoundError:
                return False  # no directory

    def _path(self, key_id: str) -> Path:
        require_key_id(key_id)
        return self._directory / f"{key_id}.pem"

    @contextmanager
    def _open_directory(self) -> Iterator[int]:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _require_exclusive(self, directory: int) -> None:
        """A user who can write to the directory can replace the files in it, and its owner always can."""
        status = os.fstat(directory)
        _require_owner(self._directory, status)
        if status.st_mode & 0o022:
            subject = {"path": str(self._directory)}
            raise InsecureKeyFile(
                f"other users can write to {self._directory}",
                subject=subject,
                remedy=Remedy(Action.PROTECT_DIRECTORY, subject),
            )


def _require_private(path: Path, file: BinaryIO) -> None:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise VaultError(f"{path} is not a regular file")
    _require_owner(path, status)
    if status.st_mode & 0o077:
        subject = {"path": str(path)}
        remedy = Remedy(Action.PROTECT_FILE, subject)
        raise InsecureKeyFile(f"other users can read {path}", subject=subject, remedy=remedy)


def _require_owner(path: Path, status: os.stat_result) -> None:
    try:
        check_owner(path, status)
    except InsecureFile as insecure:
        subject = {"path": str(path)}
        remedy = Remedy(Action.TAKE_OWNERSHIP, subject)
        raise InsecureKeyFile(str(insecure), subject=subject, remedy=remedy) from None


def _sweep(directory: int, key_id: str) -> None:
    """Remove temporary files that a killed process has left."""
    temporary = re.compile(rf"\.{re.escape(key_id)}\.[0-9a-f]+\.unfinished")
    for name in os.listdir(directory):
        if temporary.fullmatch(name):
            with suppress(FileNotFoundError):  # another process removed it
                os.unlink(name, dir_fd=directory)


@contextmanager
def _wrap_os_errors(what: str) -> Iterator[None]:
    """Convert an OSError to a VaultError."""
    try:
        yield
    except OSError as error:
        raise VaultError(f"{what}: {error.strerror}") from error


@contextmanager
def _temporary_file(directory: int, key_id: str, content: bytes) -> Iterator[str]:
    """A temporary file with the content, complete and synced; removed at the end in any case."""
    name = f".{key_id}.{secrets.token_hex(4)}.unfinished"  # two processes may write at the same time
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        yield name
    finally:
        with suppress(FileNotFoundError):  # it was renamed
            os.unlink(name, dir_fd=directory)


@contextmanager
def _locked(directory: int, name: str) -> Iterator[BinaryIO | None]:
    """The file with this name, locked against replacement and removal by others; None if there is none."""
    while True:
        # NFS locks only files that are open for writing.
        flags = os.O_RDWR if os.access(name, os.W_OK, dir_fd=directory) else os.O_RDONLY
        try:
            descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            yield None
            return
        with os.fdopen(descriptor, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _same_inode(directory, name, file):
                yield file
                return


def _same_inode(directory: int, name: str, file: BinaryIO) -> bool:
    """Whether the name still refers to this file, which may have been replaced while we waited for the lock."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _link(directory: int, path: Path, temporary: str) -> None:
    try:
        os.link(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileExistsError:
        raise VaultError(f"a private key exists at {path}; it is not overwritten") from None
