"""The vault as a directory of encrypted PKCS#8 PEM files, `<key id>.pem`.

Rules of the file
- A file is complete or absent: written under another name with O_EXCL and 0600, synced, then linked to its own name,
  which fails when that is taken. Nothing is ever overwritten.
- A file that others than its owner may read is refused, with the command that mends it.
- Key ids become file names, so only their own form is taken.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from tokensvc.core import keypair
from tokensvc.core.keypair import PrivateKey
from tokensvc.errors import KeyFileTooOpen, PrivateKeyMissing, VaultError

_KEY_ID = re.compile(r"[a-z0-9]{1,64}")


class KeyFiles:
    """Private keys in one directory, under one password."""

    def __init__(self, directory: Path, password: bytes) -> None:
        self._directory = directory
        self._password = password

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        path = self._path(key_id)
        unfinished = path.with_name(f".{key_id}.{secrets.token_hex(4)}.unfinished")  # two may write at once
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(keypair.private_pem(private_key, self._password))
                file.flush()
                os.fsync(handle)
            try:
                path.hardlink_to(unfinished)
            except FileExistsError:
                raise VaultError(
                    f"a private key for {key_id} lies in {self._directory} already; it is not overwritten"
                ) from None
            finally:
                unfinished.unlink()
            self._sync_directory()
        except OSError as problem:
            raise VaultError(f"the private key cannot be kept in {self._directory}: {problem.strerror}") from problem

    def open(self, key_id: str) -> PrivateKey:
        path = self._path(key_id)
        try:
            handle = os.open(path, os.O_RDONLY)
            with os.fdopen(handle, "rb") as file:
                if os.fstat(handle).st_mode & 0o077:
                    raise KeyFileTooOpen(f"others than its owner may read {path}; mend it with: chmod 600 {path}")
                pem = file.read()
        except FileNotFoundError:
            raise PrivateKeyMissing(f"there is no private key {path}") from None
        except OSError as problem:
            raise VaultError(f"the private key {path} cannot be read: {problem.strerror}") from problem
        return keypair.read_private_pem(pem, self._password)

    def remove(self, key_id: str) -> None:
        try:
            self._path(key_id).unlink(missing_ok=True)
            for unfinished in self._directory.glob(f".{key_id}.*.unfinished"):
                unfinished.unlink(missing_ok=True)
            if self._directory.is_dir():
                self._sync_directory()
        except OSError as problem:
            raise VaultError(f"the private key {key_id} cannot be removed: {problem.strerror}") from problem

    def key_ids(self) -> frozenset[str]:
        return frozenset(p.stem for p in self._directory.glob("*.pem") if _KEY_ID.fullmatch(p.stem))

    def _path(self, key_id: str) -> Path:
        if not _KEY_ID.fullmatch(key_id):
            raise VaultError("a key id has small letters and digits only")
        return self._directory / f"{key_id}.pem"

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
