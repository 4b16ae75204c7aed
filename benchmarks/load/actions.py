"""Commands that are run during the load, each at its second.

Rules of the file
- A command is split like a shell's words and run without a shell; programs of our own environment are found first.
- It gets what CPU the generators leave (`nice`), or they would send late while it runs.
- One that fails fails the run: figures through a rotation that did not happen would be worth nothing.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.load.plan import ActionRow
from benchmarks.load.records import Acted

LEAST_URGENT = "19"


class Actions:
    """The actions of one run."""

    def __init__(self, rows: Sequence[ActionRow], environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}"
        self._environ = {**environ, "PATH": path}
        self._rows = rows
        self._say = say
        self._timers: list[threading.Timer] = []
        self._ended: list[Acted] = []

    def start(self, at: float) -> None:
        """Count the seconds from that instant of the monotonic clock."""
        for row in self._rows:
            timer = threading.Timer(at + row.at_seconds - time.monotonic(), self._run, [row])
            timer.daemon = True
            timer.start()
            self._timers.append(timer)

    def lines(self) -> list[Acted]:
        """Cancel those that have not begun, wait for those that have, and tell how they ended."""
        for timer in self._timers:
            timer.cancel()
        for timer in self._timers:
            timer.join()
        return self._ended

    def _run(self, row: ActionRow) -> None:
        self._say(f"action: {row.command}")
        began_at = time.monotonic()
        words = ["nice", "-n", LEAST_URGENT, *shlex.split(row.command)]
        done = subprocess.run(
            words, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        code, said = done.returncode, done.stderr.strip().rpartition("\n")[2]
        took = time.monotonic() - began_at
        self._ended.append(Acted(command=row.command, at_seconds=row.at_seconds, took_seconds=took, exit_code=code))
        self._say(f"action: {row.command}: exit code {code} after {took:.1f} s{f': {said}' if code else ''}")
