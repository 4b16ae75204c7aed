"""The directory in which worker processes share their metrics, and the removal of directories left by killed processes.

Invariants
- Each process that uses a directory holds a shared lock on a file in it; the kernel releases it however the process
  ends. A directory may be removed only while an exclusive lock is held. Process ids prove nothing, since they are
  reused.
- Only directories of this user are considered, and no symbolic link is followed.
- A directory without its lock file must not be removed: another process may be creating it.
- While the process that created it lives, a directory looks used to what deletes old temporary files. If the lock file
  is deleted all the same, that process creates and locks another one, and so keeps the directory in use: the locks of
  the others are on the deleted file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from tokensvc.errors import FieldError, SettingsError

PREFIX = "tokensvc-metrics-"
LOCK_FILE = "in-use.lock"


def create() -> tuple[Path, int]:
    """Create a temporary directory. Returns it with the descriptor that holds its lock. Raises SettingsError if no
    directory for temporary files can be written to, as in a container without one."""
    while True:
        try:
            directory = Path(tempfile.mkdtemp(prefix=PREFIX))
            descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            rule = f"must name a directory in which several workers can share their metrics: {error.strerror}"
            raise SettingsError([FieldError("TMPDIR", rule)]) from None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if (directory / LOCK_FILE).exists():
            return directory, descriptor
        os.close(descriptor)  # it was removed as unused before the lock was taken


def keep(directory: Path, descriptor: int) -> None:
    """Make all files of a directory look used, and create it and its lock file again if they were deleted. Then
    `descriptor`, which holds the lock, holds the new one. Raises OSError."""
    if not _is_lock_of(directory, descriptor):
        _lock_again(directory, descriptor)
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            os.utime(path, follow_symlinks=False)


def _is_lock_of(directory: Path, descriptor: int) -> bool:
    """Whether an open file is the lock file of a directory."""
    try:
        return os.path.samestat((directory / LOCK_FILE).lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock_again(directory: Path, descriptor: int) -> None:
    while True:
        directory.mkdir(mode=0o700, exist_ok=True)
        _check_own(directory)
        new = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(new, fcntl.LOCK_SH)
            if _is_lock_of(directory, new):  # it was not removed as unused before the lock was taken
                os.dup2(new, descriptor, inheritable=False)
                return
        finally:
            os.close(new)


def _is_own(directory: Path) -> bool:
    """Whether it is a directory, no symbolic link, and belongs to this user."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _check_own(directory: Path) -> None:
    """While a directory is missing, other users can take its name."""
    if not _is_own(directory):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def lock(directory: Path) -> int:
    """Lock a directory that another process created. Returns the descriptor that holds the lock. Raises OSError."""
    _check_own(directory)
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def remove_if_unused(directory: Path) -> bool:
    """Remove a directory unless a process has locked it. Returns whether it was removed."""
    try:
        if not _is_own(directory):
            return False
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_lock_of(directory, descriptor):  # not of a deleted one, which no longer keeps the directory in use
            shutil.rmtree(directory, ignore_errors=True)
    except OSError:  # it is in use
        return False
    finally:
        os.close(descriptor)
    return not directory.exists()


def remove_unused() -> None:
    """Remove every directory that processes of this user have left behind."""
    with suppress(OSError):
        for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            remove_if_unused(directory)
