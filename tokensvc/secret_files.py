"""Which files and directories may hold a secret: one rule for key files, their directory, `TOKENSVC_X_FILE` and files
that are named by command-line options.

Invariants
- The opened file (`fstat`) is checked, never its name: another file could take the name between the check and the open.
  Symbolic links in the path are followed, and the file at their end is checked.
- The file's owner is this process's effective user or root. Any other owner could change the content and the mode.
- Other users cannot write to the file. They cannot read a secret either, unless root made it readable: Docker and
  Kubernetes mount secrets as root's with mode 0444 or 0644, into containers that have one user. A file that is named by
  an option is not such a mount: only its owner may use it, even if that is root.
- The command in a message can be pasted into a shell.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

ROOT_UID = 0


class InsecureFile(Exception):
    """A user other than this process's user and root can change the file, or read it. The message ends with the command
    that fixes it."""


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raises InsecureFile unless the file's owner is the effective user or root."""
    user = os.geteuid()
    if status.st_uid not in (user, ROOT_UID):
        raise InsecureFile(
            f"{path} is owned by uid {status.st_uid}; it must be owned by this process's user or by root: "
            f"chown {user} {shlex.quote(str(path))}"
        )


def read_setting_file(path: Path, *, secret: bool) -> bytes:
    """The content of a file that holds a setting. Raises InsecureFile or OSError.

    The file may be a pipe, such as a shell's `<(command)`.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        check_owner(path, status)
        if stat.S_ISREG(status.st_mode):
            if status.st_mode & 0o022:
                raise InsecureFile(f"other users can write to {path}: chmod go-w {shlex.quote(str(path))}")
            if secret and status.st_uid != ROOT_UID and status.st_mode & 0o007:
                raise InsecureFile(f"every user can read {path}: chmod o-rwx {shlex.quote(str(path))}")
        return file.read()


def check_private(path: Path, status: os.stat_result) -> None:
    """Raises InsecureFile unless only the file's owner, the effective user or root, can use it. Pipes are exempt."""
    if stat.S_ISREG(status.st_mode):
        check_owner(path, status)
        if status.st_mode & 0o077:
            raise InsecureFile(f"other users can read or write {path}: chmod 600 {shlex.quote(str(path))}")


def read_private_file(path: Path) -> bytes:
    """The content of a file that holds a secret and is named by an option. Raises InsecureFile or OSError."""
    with path.open("rb") as file:
        check_private(path, os.fstat(file.fileno()))
        return file.read()
