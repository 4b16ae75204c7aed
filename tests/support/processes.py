"""Real processes for tests, started as users start them.

Invariants
- Processes inherit only PATH from the machine's environment: HOME is an empty directory, and AWS_… and TOKENSVC_…
  variables come from the test alone.
- Output goes to files. If a process does not do in time what a test waits for, the test fails with its output.
- Every process that is started here is also stopped here, by its own handle.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any, NamedTuple, TypeVar

BINARIES = Path(sys.executable).parent
TOKENSVC = str(BINARIES / "tokensvc")
STARTS_WITHIN_SECONDS = 60
_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], description: str, within_seconds: float = STARTS_WITHIN_SECONDS) -> _T:
    """Poll until the value is true, and return it. Fails after a time limit."""
    ends_at = time.monotonic() + within_seconds
    while True:
        is_last = time.monotonic() >= ends_at  # before looking, which may take long
        if found := condition():
            return found
        assert not is_last, f"not within {within_seconds} seconds: {description}"
        time.sleep(0.02)


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment with only PATH and HOME, and `more`."""
    home.mkdir(parents=True, exist_ok=True)
    base = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "AWS_EC2_METADATA_DISABLED": "true",
        "COLUMNS": "200",
    }
    return base | dict(more or {})


class CommandResult(NamedTuple):
    """The result of a finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error of a command that was run with --json: the last line on standard error."""
        return json.loads(self.err.splitlines()[-1])["error"]


def run(
    arguments: list[str],
    folder: Path,
    environ: Mapping[str, str],
    *,
    stdin: str = "",
    code: int | None = 0,
    within_seconds: float = 180,
) -> CommandResult:
    """Run a command to completion and check its exit code, unless `code` is None."""
    completed = subprocess.run(
        arguments,
        cwd=folder,
        env=dict(environ),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=within_seconds,
        check=False,
    )
    result = CommandResult(completed.returncode, completed.stdout, completed.stderr)
    assert code in (None, result.code), f"{arguments} exited with {result.code}:\n{result.out}\n{result.err}"
    return result


class Process:
    """A long-running process."""

    def __init__(self, arguments: list[str], folder: Path, environ: Mapping[str, str], name: str) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(
                arguments, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8", "replace")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8", "replace")

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def children(self) -> list[int]:
        """Its worker processes (without multiprocessing's resource tracker)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [pid for pid in map(int, children) if "spawn_main" in _command(pid)]

    def wait_until(
        self, condition: Callable[[], _T], description: str, within_seconds: float = STARTS_WITHIN_SECONDS
    ) -> _T:
        """As `wait_until`, but fails immediately, with the process's output, if it exits."""

        def condition_while_running() -> _T:
            assert self.is_running, (
                f"exited with {self._popen.returncode} before {description}:\n{self.out}\n{self.err}"
            )
            return condition()

        return wait_until(condition_while_running, description, within_seconds)

    def send(self, number: Signals) -> None:
        self._popen.send_signal(number)

    def wait_for_exit(self, within_seconds: float = 25) -> int:
        """Wait until it exits; return its exit code."""
        return self._popen.wait(within_seconds)

    def stop(self, number: Signals = SIGTERM) -> int:
        """Stop it with SIGTERM and wait; return its exit code."""
        if self.is_running:
            self.send(number)
        return self.wait_for_exit()

    def kill(self) -> None:
        if self.is_running:
            self._popen.kill()
        self._popen.wait(10)


@contextlib.contextmanager
def started(arguments: list[str], folder: Path, environ: Mapping[str, str], name: str) -> Iterator[Process]:
    """Run a process while the block runs."""
    process = Process(arguments, folder, environ, name)
    try:
        yield process
        process.stop()
    finally:
        process.kill()


def is_alive(pid: int) -> bool:
    """Whether a process with this id is running; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
