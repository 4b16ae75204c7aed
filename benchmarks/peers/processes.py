"""Contenders in other languages: processes on the servers' core that sign on request.

Invariants
- A request is one line `NAME SECONDS`; the response is one line of JSON, with a token to verify.
- A process that fails or responds with anything else ends the benchmark; the message contains its output.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple

from benchmarks.servers import init_server_process


class SigningMeasurement(NamedTuple):
    """The result of one measurement of signing."""

    per_second: float
    """Tokens per second."""
    cpu_us: float
    """CPU time of all threads per token, in microseconds."""
    token: str
    """The last token."""


class SigningProcess:
    """A process that signs on request."""

    def __init__(self, process: subprocess.Popen[str], requests: IO[str], responses: IO[str]) -> None:
        self._process = process
        self._requests = requests
        self._responses = responses

    def sign(self, name: str, seconds: float) -> SigningMeasurement:
        """Let it sign with this library for about `seconds`. Raises SystemExit if it fails."""
        try:
            self._requests.write(f"{name} {seconds:g}\n")
            self._requests.flush()
        except BrokenPipeError:
            raise SystemExit(f"{name}: its process has exited") from None
        return parse(name, self._responses.readline())


def parse(name: str, line: str) -> SigningMeasurement:
    """Parse the response of a process."""
    try:
        message = json.loads(line)
        calls = message["calls"]
        return SigningMeasurement(calls / message["seconds"], message["cpu_seconds"] / calls * 1e6, message["token"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise SystemExit(f"{name}: unexpected output of its process: {line!r}") from None


@contextmanager
def run_signing_process(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[SigningProcess]:
    """Run the process during the block. Its standard error is the benchmark's own."""
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
