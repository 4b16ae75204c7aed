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

from benchmarks.servers import settle


class Signed(NamedTuple):
    """What a turn of signing showed."""

    per_second: float
    """Tokens."""
    cpu_us: float
    """CPU time for one token, of all threads."""
    token: str
    """The last one."""


class Child:
    """A process that is told by lines."""

    def __init__(self, process: subprocess.Popen[str], into: IO[str], out_of: IO[str]) -> None:
        self._process = process
        self._into = into
        self._out_of = out_of

    def sign(self, name: str, seconds: float) -> Signed:
        """Let it sign with the library of that name for about that long."""
        try:
            self._into.write(f"{name} {seconds:g}\n")
            self._into.flush()
        except BrokenPipeError:
            raise SystemExit(f"{name}: its process has ended") from None
        return read(name, self._out_of.readline())


def read(name: str, line: str) -> Signed:
    """One line of a child."""
    try:
        said = json.loads(line)
        calls = said["calls"]
        return Signed(calls / said["seconds"], said["cpu_seconds"] / calls * 1e6, said["token"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise SystemExit(f"{name}: its process said {line!r}") from None


@contextmanager
def child(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[Child]:
    """A child that ends with the block. What it complains of is seen on our standard error."""
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=settle
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Child(process, process.stdin, process.stdout)
    finally:
        process.kill()
        process.communicate()
