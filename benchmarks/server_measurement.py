"""A server's turn: wrk asks it for a while, from another core, and what it answered and used is read.

Rules of the file
- A server that fails fast must not win: one answer that is no success ends the benchmark.
- CPU time of the server for one token is told beside the rate; it is less noisy where others use the machine too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks import servers, wrk

CONNECTIONS = 16


class Contender(NamedTuple):
    """A running server, and what it is asked."""

    script: Path
    url: str
    pid: int
    connections: int = CONNECTIONS
    tokens: int = 1
    """In one answer."""


class ServerMeasurement(NamedTuple):
    """What one turn showed."""

    per_second: float
    """Tokens."""
    cpu_us: float
    """CPU time of the server for one token."""


def measure_server(contender: Contender, seconds: int) -> ServerMeasurement:
    """Let it answer for that long."""
    before = servers.cpu_seconds(contender.pid)
    run = wrk.run(contender.script, contender.url, seconds=seconds, connections=contender.connections)
    used = servers.cpu_seconds(contender.pid) - before
    if run.failed or not run.requests:
        raise SystemExit(f"{contender.url}: {run.failed} of {run.requests} requests failed")
    tokens = run.requests * contender.tokens
    return ServerMeasurement(run.per_second * contender.tokens, used / tokens * 1e6)
