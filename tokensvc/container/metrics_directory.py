"""The directory in which worker processes share their metrics, and the removal of directories left by killed processes.

Invariants
- Each process that uses a directory holds a shared lock on a file in it; the kernel releases it however the process
  ends. A directory may be removed only while an exclusive lock is held. Process ids prove nothing, since they are
  reused.
- Only directories of this user are considered, and no symbolic link is followed.
- A directory without its lock file must not be removed: another process may be creating it.
"""

from __future__ import annotations

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


def lock(directory: Path) -> int:
    """Lock a directory that another process created. Returns the descriptor that holds the lock. Raises OSError."""
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def remove_if_unused(directory: Path) -> bool:
    """Remove a directory unless a process has locked it. Returns whether it was removed."""
    try:
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
