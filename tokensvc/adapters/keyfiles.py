"""The vault as a directory of encrypted PKCS#8 PEM files, `<key id>.pem`.

Rules of the file
- A file is complete or absent: written under another name with O_EXCL and 0600, synced, then linked to its own name,
  which fails when that is taken. No private key is ever overwritten by another.
- The same private key under another wrapping key takes its file's place by a rename, while the file is locked, and
  only if it is still what was seen.
- A file that others than its owner may read is refused, and a directory that they may write to, with the command that
  mends it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tokensvc.core.keypair import PrivateKey
from tokensvc.errors import KeyFileTooOpen, PrivateKeyMissing, VaultError
from tokensvc.ports.vault import is_key_id, require_key_id
from tokensvc.wrap import Wrapper


class KeyFiles:
    """Private keys in one directory. Machines may share it, if its file system keeps locks (NFS 4 does)."""

    def __init__(self, directory: Path, wrapper: Wrapper) -> None:
        self._directory = directory
        self._wrapper = wrapper

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        path = self._path(key_id)
        wrapped = self._wrapper.wrap_key(private_key)
        with _told(f"the private key cannot be kept in {self._directory}"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_closed()
            with _unfinished(path, wrapped) as unfinished:
                _link(path, unfinished)
            self._sync_directory()

    def open(self, key_id: str) -> PrivateKey:
        return self._wrapper.unwrap_key(self.wrapped(key_id))

    def remove(self, key_id: str) -> None:
        path = self._path(key_id)
        with _told(f"the private key {key_id} cannot be removed"):
            with _locked(path) as file:
                if file is not None:
                    path.unlink()
            self._sweep(key_id)
            if self._directory.is_dir():
                self._sync_directory()

    def key_ids(self) -> frozenset[str]:
        return frozenset(p.stem for p in self._directory.glob("*.pem") if is_key_id(p.stem))

    def wrapped(self, key_id: str) -> bytes:
        path = self._path(key_id)
        with _told(f"the private key {path} cannot be read"):
            try:
                self._require_closed()
                with path.open("rb") as file:
                    if os.fstat(file.fileno()).st_mode & 0o077:
                        raise KeyFileTooOpen(f"others than its owner may read {path}; mend it with: chmod 600 {path}")
                    return file.read()
            except FileNotFoundError:
                raise PrivateKeyMissing(f"there is no private key {path}") from None

    def replace(self, key_id: str, seen: bytes, wrapped: bytes) -> bool:
        path = self._path(key_id)
        with _told(f"the private key {key_id} cannot be wrapped anew"), _locked(path) as file:
            if file is None or file.read() != seen:
                return False
            self._require_closed()
            self._sweep(key_id)
            with _unfinished(path, wrapped) as unfinished:
                unfinished.rename(path)
            self._sync_directory()
            return True

    def _path(self, key_id: str) -> Path:
        require_key_id(key_id)
        return self._directory / f"{key_id}.pem"

    def _require_closed(self) -> None:
        """Who may write to a directory may put other files in the place of ours."""
        if self._directory.stat().st_mode & 0o022:
            raise KeyFileTooOpen(
                f"others than its owner may write to {self._directory}; mend it with: chmod 700 {self._directory}"
            )

    def _sweep(self, key_id: str) -> None:
        """Remove what a killed process left unfinished."""
        for unfinished in self._directory.glob(f".{key_id}.*.unfinished"):
            unfinished.unlink(missing_ok=True)

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What the system refuses is a VaultError."""
    try:
        yield
    except OSError as problem:
        raise VaultError(f"{what}: {problem.strerror}") from problem


@contextmanager
def _unfinished(path: Path, content: bytes) -> Iterator[Path]:
    """The content, whole and synced, under a name that nobody reads; gone at the end, however it ends."""
    name = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.unfinished")  # two may write at once
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        yield name
    finally:
        name.unlink(missing_ok=True)  # a rename took it away


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO | None]:
    """The file that bears this name, locked against others who replace or remove it; None when there is none."""
    while True:
        try:
            file = path.open("r+b" if os.access(path, os.W_OK) else "rb")  # NFS locks only what may be written to
        except FileNotFoundError:
            yield None
            return
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _bears(path, file):
                yield file
                return


def _bears(path: Path, file: BinaryIO) -> bool:
    """Whether the name is still this file's: while we waited for the lock, another may have taken its place."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _link(path: Path, unfinished: Path) -> None:
    try:
        path.hardlink_to(unfinished)
    except FileExistsError:
        raise VaultError(f"a private key lies at {path} already; it is not overwritten") from None
