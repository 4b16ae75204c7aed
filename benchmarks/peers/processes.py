"""Contenders in other languages: processes on the servers' core that sign when they are told to.

Rules of the file
- One line of text goes in, `NAME SECONDS`; one line of JSON comes back, with a token to be judged.
- A child that fails or says something else ends the benchmark, with what it said.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple

from benchmarks.servers import init_server_process


class SigningMeasurement(NamedTuple):
    """What a turn of signing showed."""

    per_second: float
    """Tokens."""
    cpu_us: float
    """CPU time for one token, of all threads."""
    token: str
    """The last one."""


class SigningProcess:
    """A process that is told by lines."""

    def __init__(self, process: subprocess.Popen[str], into: IO[str], out_of: IO[str]) -> None:
        self._process = process
        self._into = into
        self._out_of = out_of

    def sign(self, name: str, seconds: float) -> SigningMeasurement:
        """Let it sign with the library of that name for about that long."""
        try:
            self._into.write(f"{name} {seconds:g}\n")
            self._into.flush()
        except BrokenPipeError:
            raise SystemExit(f"{name}: its process has ended") from None
        return parse(name, self._out_of.readline())


def parse(name: str, line: str) -> SigningMeasurement:
    """One line of a child."""
    try:
        message = json.loads(line)
        calls = message["calls"]
        return SigningMeasurement(calls / message["seconds"], message["cpu_seconds"] / calls * 1e6, message["token"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise SystemExit(f"{name}: its process said {line!r}") from None


@contextmanager
def run_signing_process(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[SigningProcess]:
    """A child that ends with the block. What it complains of is seen on our standard error."""
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=init_server_process
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield SigningProcess(process, process.stdin, process.stdout)
    finally:
        process.kill()
        process.communicate()
