"""Which files and directories may hold a secret: the one rule for key files, their directory, `TOKENSVC_X_FILE` and
the files that options name.

Invariants
- What is checked is the opened file (`fstat`), never its name: between a check by name and the opening another file may
  take that name. Links in the path are followed to what they lead to, and that is what is checked.
- Its owner is this process's effective user or root. Any other owner can change the content and the mode at any time.
- Other users never write to it. What only its owner may know, other users do not read, unless root made it readable:
  Docker and Kubernetes mount secrets as root's with mode 0444 or 0644, into containers that have one user. A file that
  an option names is no such mount: it is its owner's alone, also when that is root.
- The command in a message can be pasted into a shell.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

ROOT_UID = 0


class InsecureFile(Exception):
    """A user that is neither this process's nor root controls the file, or may read it. The message ends with the
    command that fixes it."""


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise InsecureFile unless the effective user or root owns it."""
    user = os.geteuid()
    if status.st_uid not in (user, ROOT_UID):
        raise InsecureFile(
            f"{path} belongs to uid {status.st_uid}, and must belong to this process's user or root: "
            f"chown {user} {shlex.quote(str(path))}"
        )


def read_setting_file(path: Path, *, secret: bool) -> bytes:
    """The content of a file that holds a setting. Raises InsecureFile or OSError.

    A pipe, as a shell's `<(command)` makes one, is read too.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        check_owner(path, status)
        if stat.S_ISREG(status.st_mode):
            if status.st_mode & 0o022:
                raise InsecureFile(f"other users may write to {path}: chmod go-w {shlex.quote(str(path))}")
            if secret and status.st_uid != ROOT_UID and status.st_mode & 0o007:
                raise InsecureFile(f"every user may read {path}: chmod o-rwx {shlex.quote(str(path))}")
        return file.read()


def check_private(path: Path, status: os.stat_result) -> None:
    """Raise InsecureFile unless only its owner, the effective user or root, may use it; a pipe has no such rule."""
    if stat.S_ISREG(status.st_mode):
        check_owner(path, status)
        if status.st_mode & 0o077:
            raise InsecureFile(f"others than its owner may use {path}: chmod 600 {shlex.quote(str(path))}")


def read_private_file(path: Path) -> bytes:
    """The content of a file that holds a secret and was named by an option. Raises InsecureFile or OSError."""
    with path.open("rb") as file:
        check_private(path, os.fstat(file.fileno()))
        return file.read()
