"""One measurement of a server: wrk loads it from another core; its rate and CPU time are read.

Invariants
- A server that fails fast must not win: one unsuccessful response ends the benchmark.
- The server's CPU time per token is reported with the rate; it is less noisy on a shared machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks import servers, wrk

CONNECTIONS = 16


class Contender(NamedTuple):
    """A running server and the requests sent to it."""

    script: Path
    url: str
    pid: int
    connections: int = CONNECTIONS
    tokens: int = 1
    """Tokens per response."""


class ServerMeasurement(NamedTuple):
    """The result of one measurement."""

    per_second: float
    """Tokens per second."""
    cpu_us: float
    """CPU time of the server per token, in microseconds."""


def measure_server(contender: Contender, seconds: int) -> ServerMeasurement:
    """Load the server for `seconds`. Raises SystemExit if a request failed."""
    before = servers.cpu_seconds(contender.pid)
    run = wrk.run(contender.script, contender.url, seconds=seconds, connections=contender.connections)
    used = servers.cpu_seconds(contender.pid) - before
    if run.failed or not run.requests:
        raise SystemExit(f"{contender.url}: {run.failed} of {run.requests} requests failed")
    tokens = run.requests * contender.tokens
    return ServerMeasurement(run.per_second * contender.tokens, used / tokens * 1e6)
