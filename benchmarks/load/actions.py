"""Commands that run during the load, each at its second.

Invariants
- A command is split into shell words and run without a shell; programs of this Python environment are found first.
- It runs at the lowest priority (`nice`), because the generators would send late otherwise.
- A command that fails makes the run fail: figures of a rotation that did not happen are worthless.
- It has a session of its own: the first Ctrl-C stops the sending, not a rotation in progress; the second ends it too.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.load.plan import ActionRow
from benchmarks.load.records import ActionResult

LOWEST_PRIORITY = "19"
NOT_FOUND = 127
_POLL_SECONDS = 0.1


class Actions:
    """The actions of one run."""

    def __init__(self, rows: Sequence[ActionRow], environ: Mapping[str, str], report: Callable[[str], None]) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
        self._environ = {**environ, "PATH": path}
        self._rows = rows
        self._report = report
        self._timers: list[threading.Timer] = []
        self._results: list[ActionResult] = []
        self._running: dict[subprocess.Popen[str], str] = {}

    def start(self, at: float) -> None:
        """Schedule the actions; second 0 is `at` on the monotonic clock."""
        for row in self._rows:
            timer = threading.Timer(at + row.at_seconds - time.monotonic(), self._run, [row])
            timer.daemon = True
            timer.start()
            self._timers.append(timer)

    def results(self, is_abandoned: Callable[[], bool] = lambda: False) -> list[ActionResult]:
        """Cancel the actions that have not started, wait for the others, and return their results.

        Once `is_abandoned` returns True, running commands are terminated.
        """
        for timer in self._timers:
            timer.cancel()
        for command in list(self._running.values()):
            self._report(f"waiting for action: {command}")
        for timer in self._timers:
            while timer.is_alive():
                if is_abandoned():
                    self._terminate()
                timer.join(_POLL_SECONDS)
        return self._results

    def _terminate(self) -> None:
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    def _run(self, row: ActionRow) -> None:
        self._report(f"action: {row.command}")
        started_at = time.monotonic()
        words = ["nice", "-n", LOWEST_PRIORITY, *shlex.split(row.command)]
        code, error = self._execute(words, row.command)
        took = time.monotonic() - started_at
        result = ActionResult(command=row.command, at_seconds=row.at_seconds, took_seconds=took, exit_code=code)
        self._results.append(result)
        self._report(f"action: {row.command}: exit code {code} after {took:.1f} s{f': {error}' if code else ''}")

    def _execute(self, words: Sequence[str], command: str) -> tuple[int, str]:
        """The exit code of a command and the last line of its standard error."""
        try:
            process = subprocess.Popen(
                words,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as failure:
            return NOT_FOUND, str(failure)
        with process:
            self._running[process] = command
            _, errors = process.communicate()
            del self._running[process]
        return process.returncode, errors.strip().rpartition("\n")[2]
