"""The settings file: a TOML file with settings, named by `--config` or `TOKENSVC_CONFIG`.

    control_plane = "aws"
    regions = ["us-east-1", "eu-west-1"]
    passphrase_file = "/run/secrets/passphrase"

Invariants
- It is read once by a process, whole, so it may be a pipe. A pipe that nothing is written to does not block for ever.
- Its owner is this process's user or root, and no other user can write to it. A file that holds a secret must not be
  accessible to every user either, not even if root owns it: unlike a mounted secret, it is written by hand.
- An error names the file, the line and the key; it never repeats a value.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import stat
import time
import tomllib
from pathlib import Path
from typing import Any

from tokensvc.errors import FieldError, SettingsError
from tokensvc.printable import printable
from tokensvc.secret_files import InsecureFile, check_owner
from tokensvc.toml_positions import line_of

CONFIG_VARIABLE = "TOKENSVC_CONFIG"
MAX_BYTES = 64 * 1024
MAX_LOCATED_ERRORS = 50
PIPE_TIMEOUT_SECONDS = 30.0
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_KEY = re.compile(r"\s*([\w.\"'-]{1,60})\s*=")
_KINDS = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "a table",
}


class SettingsFile:
    """A settings file that has been read."""

    def __init__(self, path: str, text: str, *, is_public: bool) -> None:
        """Parse the text. Raises SettingsError."""
        self._path, self._text, self._located = path, text, 0
        self.is_public = is_public
        """Whether every user of the system can read it."""
        self.values: dict[str, Any] = self._parse()
        """The value of each key."""

    def place_of(self, key: str) -> str:
        """The file and line of a key: `tokensvc.toml:3`."""
        return self._place(line_of(self._text, (key,)))

    def error(self, key: str, rule: str) -> FieldError:
        """The error that the value of a key breaks this rule. Only the first MAX_LOCATED_ERRORS have a line."""
        self._located += 1
        place = self.place_of(key) if self._located <= MAX_LOCATED_ERRORS else printable(self._path)
        return FieldError(f"{place}: {printable(key)}", rule)

    def secret_error(self, key: str) -> FieldError:
        """The error that every user can read this secret."""
        fix = f"chmod o-rwx {shlex.quote(self._path)}"
        return self.error(key, f"is a secret, and every user can read the file: {fix}")

    def kind_of(self, key: str) -> str:
        """The TOML type of the key's value in words."""
        return _KINDS.get(type(self.values[key]), "a date or time")

    def _parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self._text)
        except RecursionError:
            raise SettingsError([FieldError(printable(self._path), "is nested too deeply")]) from None
        except ValueError as invalid:  # tomllib's error, and that of an integer with thousands of digits
            message = str(invalid) if isinstance(invalid, tomllib.TOMLDecodeError) else "a number has too many digits"
        found = _AT_LINE.search(message)
        if found is None:
            raise SettingsError([FieldError(printable(self._path), f"is not TOML: {message}")])
        line, rule = int(found[1]), message[: found.start()]
        key = _KEY.match(self._text.split("\n")[line - 1])
        if key is not None and "overwrite" in rule:
            raise SettingsError([FieldError(f"{self._place(line)}: {printable(key[1])}", "must be given only once")])
        raise SettingsError([FieldError(self._place(line), f"is not TOML: {rule}")])

    def _place(self, line: int) -> str:
        return f"{printable(self._path)}:{line}"


def read_settings_file(path: str) -> SettingsFile:
    """Read and parse the file. Raises SettingsError."""
    if not path:
        raise SettingsError([FieldError(CONFIG_VARIABLE, "must name a file")])
    try:
        content, status = _read(path)
    except InsecureFile as insecure:
        raise SettingsError([FieldError(printable(path), str(insecure))]) from None
    except (OSError, ValueError) as problem:  # ValueError: the name contains NUL
        reason = problem.strerror if isinstance(problem, OSError) else "not a file name"
        raise SettingsError([FieldError(printable(path), f"cannot be read: {reason}")]) from None
    if len(content) > MAX_BYTES:
        raise SettingsError([FieldError(printable(path), f"is larger than {MAX_BYTES // 1024} KiB")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as invalid:
        line = content.count(b"\n", 0, invalid.start) + 1
        raise SettingsError([FieldError(f"{printable(path)}:{line}", "is not UTF-8")]) from None
    is_public = stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o007)
    return SettingsFile(path, text, is_public=is_public)


def _read(path: str) -> tuple[bytes, os.stat_result]:
    """At most one byte more than MAX_BYTES of the file, and its status. Raises InsecureFile or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        check_owner(Path(path), status)
        is_regular = stat.S_ISREG(status.st_mode)
        if is_regular and status.st_mode & 0o022:
            raise InsecureFile(f"other users can write to it: chmod go-w {shlex.quote(path)}")
        deadline = time.monotonic() + PIPE_TIMEOUT_SECONDS
        content = b""
        while len(content) <= MAX_BYTES:
            if not is_regular:
                _wait_for_data(descriptor, deadline)
            part = os.read(descriptor, MAX_BYTES + 1 - len(content))
            if not part:
                break
            content += part
        return content, status
    finally:
        os.close(descriptor)


def _wait_for_data(descriptor: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError(0, f"it is a pipe, and nothing was written to it within {PIPE_TIMEOUT_SECONDS:g} seconds")
