"""New connections at a busy worker: `python -m benchmarks.connections [--json]`.

Invariants
- The same service is measured twice, in interleaved rounds on one core: as shipped, and on uvloop's own server, which
  accepts one connection per event-loop iteration (`benchmarks/peers/one_accept.py`). One client on the other core loads
  both.
- KEEP_ALIVE_CONNECTIONS request tokens continuously, each sending the next request as soon as it has a response. The
  request rate and CPU time are measured while they are alone. Then CHURNING_CLIENTS join, each of which connects, sends
  one request, closes and connects again; every other one requests `/livez`, the rest a token.
- A new connection's latency is measured from before the connect to the response. The first request on a keep-alive
  connection also counts from before the connect, so time spent waiting to be accepted is included.
- No connection is dropped from the results: a measurement ends when every new connection has a response.
"""

from __future__ import annotations

import json
import os
import select
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks import rounds, servers
from benchmarks.report import report

ROUNDS = 7
KEEP_ALIVE_CONNECTIONS, CHURNING_CLIENTS = 256, 64
WARM_UP_SECONDS, STEADY_SECONDS, CHURN_SECONDS = 0.5, 2.0, 3.0
TIMEOUT_SECONDS = 60.0
TOKEN_REQUEST = json.dumps({"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"})
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n"
TARGETS: dict[str, float] = {
    "new connection p99, tokensvc / one accept per iteration": 0.15,
    "keep-alive connections, tokensvc, p99.9 / p50": 20,
    "requests per second without new connections, tokensvc / one accept per iteration": 1.0,
    "server CPU per request, tokensvc / one accept per iteration": 1.0,
}


class ConnectionMeasurement(NamedTuple):
    """The result of one measurement. Latencies are in milliseconds."""

    new: list[float]
    keep_alive: list[float]
    open_ms: float
    """From before the first keep-alive connection connects until the last one has its first response."""
    per_second: float
    cpu_us: float


def main() -> None:
    os.sched_setaffinity(0, {servers.LOAD_CORE})
    with (
        tempfile.TemporaryDirectory() as name,
        _running_service(Path(name) / "many", "tokensvc") as many,
        _running_service(Path(name) / "one", "benchmarks.peers.one_accept") as one,
    ):
        results = rounds.interleave({"many": partial(_measure, many), "one": partial(_measure, one)}, ROUNDS)
    _report(results["many"], results["one"])


@contextmanager
def _running_service(folder: Path, program: str) -> Iterator[servers.RunningService]:
    folder.mkdir()
    environ, api_key = servers.create_deployment(folder)
    with servers.run_service(folder, environ, api_key, program) as service:
        yield service


def _measure(service: servers.RunningService) -> ConnectionMeasurement:
    address = urlsplit(service.url)
    head = f"POST /v1/tokens HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {service.api_key}\r\n"
    body = f"Content-Type: application/json\r\nContent-Length: {len(TOKEN_REQUEST)}\r\n\r\n{TOKEN_REQUEST}"
    token = f"{head}{body}".encode()
    with Clients((str(address.hostname), int(address.port or 0))) as clients:
        clients.open(KEEP_ALIVE_CONNECTIONS, token)
        clients.run(WARM_UP_SECONDS)
        cpu_before, responses_before = servers.cpu_seconds(service.pid), clients.responses
        clients.run(STEADY_SECONDS)
        used, responses = servers.cpu_seconds(service.pid) - cpu_before, clients.responses - responses_before
        clients.run(CHURN_SECONDS, churn=[(LIVEZ, token)[number % 2] for number in range(CHURNING_CLIENTS)])
        return ConnectionMeasurement(
            clients.new, clients.keep_alive, clients.open_ms, responses / STEADY_SECONDS, used / responses * 1e6
        )


class _Client:
    """One connection and its request."""

    def __init__(self, address: tuple[str, int], request: bytes, *, is_keep_alive: bool) -> None:
        self.request, self.is_keep_alive = request, is_keep_alive
        self.started = time.perf_counter()
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS)  # completed by the kernel, accepted or not
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def read_response(self) -> float:
        """Read the available response and return its latency in milliseconds. Raises SystemExit unless it succeeded."""
        response = self.socket.recv(65_536)
        took = (time.perf_counter() - self.started) * 1000
        if not response.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"unexpected response: {response[:60]!r}")
        return took

    def send_again(self) -> None:
        self.started = time.perf_counter()
        self.socket.send(self.request)


class Clients:
    """The connections of one process, each with one request in flight."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.new: list[float] = []
        self.keep_alive: list[float] = []
        self.responses = 0
        """Of keep-alive and new connections together."""
        self.open_ms = 0.0
        self._address = address
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._pending_new = 0

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._epoll.close()

    def open(self, count: int, request: bytes) -> None:
        """Open keep-alive connections; returns when each has its first response."""
        started = time.perf_counter()
        for _ in range(count):
            self._connect(request, is_keep_alive=True)
        first = set(self._clients)
        while first:
            first -= self._read_responses(renew=False)
        self.open_ms = (time.perf_counter() - started) * 1000

    def run(self, seconds: float, churn: Sequence[bytes] = ()) -> None:
        """Send requests for `seconds`, then until no new connection is waiting.

        For each request in `churn`, a client connects, sends it, closes and connects again.
        """
        until = time.monotonic() + seconds
        for request in churn:
            self._connect(request, is_keep_alive=False)
        while (going := time.monotonic() < until) or self._pending_new:
            self._read_responses(renew=going)

    def _connect(self, request: bytes, *, is_keep_alive: bool) -> None:
        client = _Client(self._address, request, is_keep_alive=is_keep_alive)
        self._pending_new += not is_keep_alive
        self._clients[client.socket.fileno()] = client
        self._epoll.register(client.socket, select.EPOLLIN)

    def _read_responses(self, *, renew: bool) -> set[int]:
        """Read the available responses, send the next requests, and return the descriptors that were read."""
        ready = [number for number, _ in self._epoll.poll(TIMEOUT_SECONDS)]
        if not ready:
            raise SystemExit(f"no response for {TIMEOUT_SECONDS:.0f} seconds")
        for number in ready:
            client = self._clients[number]
            took = client.read_response()
            self.responses += 1
            if client.is_keep_alive:
                self.keep_alive.append(took)
                client.send_again()
                continue
            self.new.append(took)
            self._epoll.unregister(number)
            del self._clients[number]
            client.socket.close()
            self._pending_new -= 1
            if renew:
                self._connect(client.request, is_keep_alive=False)
        return set(ready)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def _report(many: list[ConnectionMeasurement], one: list[ConnectionMeasurement]) -> None:
    def new(measurements: list[ConnectionMeasurement], percent: float) -> list[float]:
        return [percentile(measurement.new, percent) for measurement in measurements]

    def keep_alive(measurements: list[ConnectionMeasurement], percent: float) -> list[float]:
        return [percentile(measurement.keep_alive, percent) for measurement in measurements]

    rates = [[measurement.per_second for measurement in measurements] for measurements in (many, one)]
    cpu = [[measurement.cpu_us for measurement in measurements] for measurements in (many, one)]
    open_ms = [[measurement.open_ms for measurement in measurements] for measurements in (many, one)]
    opening = f"first responses on {KEEP_ALIVE_CONNECTIONS} connections"
    ratios = {
        "new connection p99, tokensvc / one accept per iteration": rounds.ratio(new(many, 99), new(one, 99)),
        "new connection p50, tokensvc / one accept per iteration": rounds.ratio(new(many, 50), new(one, 50)),
        "keep-alive connections, tokensvc, p99.9 / p50": rounds.ratio(keep_alive(many, 99.9), keep_alive(many, 50)),
        f"{opening}, tokensvc / one accept per iteration": rounds.ratio(*open_ms),
        "requests per second without new connections, tokensvc / one accept per iteration": rounds.ratio(*rates),
        "server CPU per request, tokensvc / one accept per iteration": rounds.ratio(*cpu),
    }
    figures: dict[str, float] = {}
    for name, measurements in (("tokensvc", many), ("one accept per iteration", one)):
        figures |= {
            f"{name}, new connection p50, ms": median(new(measurements, 50)),
            f"{name}, new connection p99, ms": median(new(measurements, 99)),
            f"{name}, keep-alive connections p50, ms": median(keep_alive(measurements, 50)),
            f"{name}, keep-alive connections p99.9, ms": median(keep_alive(measurements, 99.9)),
            f"{name}, keep-alive connections maximum, ms": max(max(one.keep_alive) for one in measurements),
            f"{name}, {opening}, ms": median(one.open_ms for one in measurements),
            f"{name}, requests per second": median(one.per_second for one in measurements),
            f"{name}, CPU microseconds per request": median(one.cpu_us for one in measurements),
        }
    report("new connections at a busy worker", ratios, figures, TARGETS)


if __name__ == "__main__":
    main()
