"""The vault as a directory of encrypted PKCS#8 PEM files, `<key id>.pem`.

Rules of the file
- A file is complete or absent: written under another name with O_EXCL and 0600, synced, then linked to its own name,
  which fails when that is taken. No private key is ever overwritten by another.
- The same private key under another wrapping key takes its file's place by a rename, while the file is locked, and
  only if it is still what was seen.
- A file that other users may read or that another user owns is refused, and so is a directory that other users may
  write to or that another user owns, with the command that fixes it. Root may own both.
- Checks are made on opened descriptors, and files are opened, made and renamed relative to the directory's: a user that
  controls a directory above it cannot put another one in its place in between. A key file that is a link is not read.
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
    """Private keys in one directory. Machines may share it, if its file system keeps locks (NFS 4 does)."""

    def __init__(self, directory: Path, cipher: SecretCipher) -> None:
        self._directory = directory
        self._cipher = cipher

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        path = self._path(key_id)
        envelope = self._cipher.encrypt_key(private_key)
        with wrap_os_errors(f"the private key cannot be kept in {self._directory}"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as directory:
                self._require_closed(directory)
                with _unfinished(directory, key_id, envelope) as unfinished:
                    _link(directory, path, unfinished)
                os.fsync(directory)

    def open(self, key_id: str) -> PrivateKey:
        return self._cipher.decrypt_key(self.read_envelope(key_id))

    def remove(self, key_id: str) -> None:
        path = self._path(key_id)
        with wrap_os_errors(f"the private key {key_id} cannot be removed"):
            try:
                with self._opened() as directory:
                    with _locked(directory, path.name) as file:
                        if file is not None:
                            os.unlink(path.name, dir_fd=directory)
                    _sweep(directory, key_id)
                    os.fsync(directory)
            except FileNotFoundError:
                return  # there is no directory, so there is no key

    def key_ids(self) -> frozenset[str]:
        return frozenset(p.stem for p in self._directory.glob("*.pem") if is_key_id(p.stem))

    def read_envelope(self, key_id: str) -> bytes:
        path = self._path(key_id)
        with wrap_os_errors(f"the private key {path} cannot be read"):
            try:
                with self._opened() as directory:
                    self._require_closed(directory)
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                    with os.fdopen(os.open(path.name, flags, dir_fd=directory), "rb") as file:
                        _require_private(path, file)
                        return file.read()
            except FileNotFoundError:
                raise PrivateKeyMissing(f"there is no private key {path}", subject={"key_id": key_id}) from None
            except OSError as problem:
                if problem.errno == errno.ELOOP:
                    paths = {"path": str(path), "target": os.path.realpath(path)}
                    raise InsecureKeyFile(
                        f"{path} is a symbolic link; put the file itself in its place",
                        subject={"key_id": key_id, "path": str(path)},
                        remedy=Remedy(Action.REPLACE_SYMLINK, paths),
                    ) from None
                raise

    def replace(self, key_id: str, expected: bytes, envelope: bytes) -> bool:
        path = self._path(key_id)
        with wrap_os_errors(f"the private key {key_id} cannot be wrapped anew"):
            try:
                with self._opened() as directory, _locked(directory, path.name) as file:
                    if file is None or file.read() != expected:
                        return False
                    self._require_closed(directory)
                    _require_private(path, file)
                    _sweep(directory, key_id)
                    with _unfinished(directory, key_id, envelope) as unfinished:
                        os.rename(unfinished, path.name, src_dir_fd=directory, dst_dir_fd=directory)
                    os.fsync(directory)
                    return True
            except FileNotFoundError:
                return False  # there is no directory

    def _path(self, key_id: str) -> Path:
        require_key_id(key_id)
        return self._directory / f"{key_id}.pem"

    @contextmanager
    def _opened(self) -> Iterator[int]:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)

    def _require_closed(self, directory: int) -> None:
        """A user that may write to a directory may put other files in the place of ours, and its owner always may."""
        status = os.fstat(directory)
        _require_owner(self._directory, status)
        if status.st_mode & 0o022:
            subject = {"path": str(self._directory)}
            raise InsecureKeyFile(
                f"others than its owner may write to {self._directory}",
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
        raise InsecureKeyFile(f"others than its owner may read {path}", subject=subject, remedy=remedy)


def _require_owner(path: Path, status: os.stat_result) -> None:
    try:
        check_owner(path, status)
    except InsecureFile as insecure:
        subject = {"path": str(path)}
        remedy = Remedy(Action.TAKE_OWNERSHIP, subject)
        raise InsecureKeyFile(str(insecure), subject=subject, remedy=remedy) from None


def _sweep(directory: int, key_id: str) -> None:
    """Remove what a killed process left unfinished."""
    unfinished = re.compile(rf"\.{re.escape(key_id)}\.[0-9a-f]+\.unfinished")
    for name in os.listdir(directory):
        if unfinished.fullmatch(name):
            with suppress(FileNotFoundError):  # another process removed it
                os.unlink(name, dir_fd=directory)


@contextmanager
def wrap_os_errors(what: str) -> Iterator[None]:
    """What the system refuses is a VaultError."""
    try:
        yield
    except OSError as problem:
        raise VaultError(f"{what}: {problem.strerror}") from problem


@contextmanager
def _unfinished(directory: int, key_id: str, content: bytes) -> Iterator[str]:
    """The content, whole and synced, under a name that nobody reads; gone at the end, however it ends."""
    name = f".{key_id}.{secrets.token_hex(4)}.unfinished"  # two may write at once
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        yield name
    finally:
        with suppress(FileNotFoundError):  # a rename took it away
            os.unlink(name, dir_fd=directory)


@contextmanager
def _locked(directory: int, name: str) -> Iterator[BinaryIO | None]:
    """The file that bears this name, locked against others who replace or remove it; None when there is none."""
    while True:
        # NFS locks only what may be written to.
        flags = os.O_RDWR if os.access(name, os.W_OK, dir_fd=directory) else os.O_RDONLY
        try:
            handle = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            yield None
            return
        with os.fdopen(handle, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _same_inode(directory, name, file):
                yield file
                return


def _same_inode(directory: int, name: str, file: BinaryIO) -> bool:
    """Whether the name is still this file's: while we waited for the lock, another may have taken its place."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _link(directory: int, path: Path, unfinished: str) -> None:
    try:
        os.link(unfinished, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileExistsError:
        raise VaultError(f"a private key lies at {path} already; it is not overwritten") from None
