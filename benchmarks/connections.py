"""New connections at a busy worker: `python -m benchmarks.connections [--json]`.

Invariants
- The same service twice, by turns on one core: as shipped, and on uvloop's own server, which accepts one connection a
  turn of the loop (`benchmarks/peers/one_accept.py`). Both are loaded by one client on the other core.
- KEPT connections ask for tokens all the time, the next as soon as one is there. For a while they are alone: rate and
  CPU time are taken then. Then CROWD clients join them, each of which connects, asks once, closes and begins again;
  one in two asks `/livez`, the others for a token.
- A new connection's latency is from before it connects to its answer. A kept connection's first request counts from
  before it connects too: a connection that is not accepted yet waits like any other.
- Nobody is left out: a turn ends when every new connection has been answered, however long it waited.
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

from benchmarks import rounds as turns
from benchmarks import servers
from benchmarks.report import report

ROUNDS = 7
KEPT, CROWD = 256, 64
WARM_SECONDS, ALONE_SECONDS, CROWD_SECONDS = 0.5, 2.0, 3.0
GIVE_UP_SECONDS = 60.0
ASK = json.dumps({"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"})
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n"
TARGETS: dict[str, float] = {
    "a new connection's p99, ours / one accept a turn": 0.15,
    "kept connections, ours, p99.9 / p50": 20,
    "requests a second without new connections, ours / one accept a turn": 1.0,
    "server CPU for a request, ours / one accept a turn": 1.0,
}


class Turn(NamedTuple):
    """What one turn showed. Latencies are in milliseconds."""

    new: list[float]
    kept: list[float]
    opened_ms: float
    """From before the first kept connection connects until the last of them has its first answer."""
    per_second: float
    cpu_us: float


def main() -> None:
    os.sched_setaffinity(0, {servers.LOAD_CORE})
    with (
        tempfile.TemporaryDirectory() as name,
        _service(Path(name) / "many", "tokensvc") as many,
        _service(Path(name) / "one", "benchmarks.peers.one_accept") as one,
    ):
        rounds = turns.by_turns({"many": partial(_turn, many), "one": partial(_turn, one)}, ROUNDS)
    _report(rounds["many"], rounds["one"])


@contextmanager
def _service(folder: Path, program: str) -> Iterator[servers.Ours]:
    folder.mkdir()
    environ, api_key = servers.furnished(folder)
    with servers.serving(folder, environ, api_key, program) as ours:
        yield ours


def _turn(ours: servers.Ours) -> Turn:
    address = urlsplit(ours.url)
    head = f"POST /v1/tokens HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {ours.api_key}\r\n"
    token = f"{head}Content-Type: application/json\r\nContent-Length: {len(ASK)}\r\n\r\n{ASK}".encode()
    with Clients((str(address.hostname), int(address.port or 0))) as clients:
        clients.open(KEPT, token)
        clients.run(WARM_SECONDS)
        before = servers.cpu_seconds(ours.pid), clients.answers
        clients.run(ALONE_SECONDS)
        used, answers = servers.cpu_seconds(ours.pid) - before[0], clients.answers - before[1]
        clients.run(CROWD_SECONDS, crowd=[(LIVEZ, token)[number % 2] for number in range(CROWD)])
        return Turn(clients.new, clients.kept, clients.opened_ms, answers / ALONE_SECONDS, used / answers * 1e6)


class _Client:
    """One connection, and what it asks."""

    def __init__(self, address: tuple[str, int], request: bytes, *, stays: bool) -> None:
        self.request, self.stays = request, stays
        self.began = time.perf_counter()
        self.socket = socket.create_connection(address, GIVE_UP_SECONDS)  # the kernel answers, accepted or not
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def answered(self) -> float:
        """Read the answer that is there; its latency in milliseconds. Ends the benchmark when it is no success."""
        answer = self.socket.recv(65_536)
        took = (time.perf_counter() - self.began) * 1000
        if not answer.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"a connection was answered {answer[:60]!r}")
        return took

    def ask_again(self) -> None:
        self.began = time.perf_counter()
        self.socket.send(self.request)


class Clients:
    """Connections of one process, all of them waiting for an answer at any time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.new: list[float] = []
        self.kept: list[float] = []
        self.answers = 0
        """Of kept and new connections together."""
        self.opened_ms = 0.0
        self._address = address
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._new_ones = 0

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._epoll.close()

    def open(self, count: int, request: bytes) -> None:
        """Connections that stay. Returns when each has had its first answer."""
        began = time.perf_counter()
        for _ in range(count):
            self._connect(request, stays=True)
        first = set(self._clients)
        while first:
            first -= self._answer(renew=False)
        self.opened_ms = (time.perf_counter() - began) * 1000

    def run(self, seconds: float, crowd: Sequence[bytes] = ()) -> None:
        """Go on for that long, then until no new connection waits. Each of the crowd connects again and again."""
        until = time.monotonic() + seconds
        for request in crowd:
            self._connect(request, stays=False)
        while (going := time.monotonic() < until) or self._new_ones:
            self._answer(renew=going)

    def _connect(self, request: bytes, *, stays: bool) -> None:
        client = _Client(self._address, request, stays=stays)
        self._new_ones += not stays
        self._clients[client.socket.fileno()] = client
        self._epoll.register(client.socket, select.EPOLLIN)

    def _answer(self, *, renew: bool) -> set[int]:
        """Read the answers that are there, and ask again; the descriptors that were read."""
        ready = [number for number, _ in self._epoll.poll(GIVE_UP_SECONDS)]
        if not ready:
            raise SystemExit(f"no connection was answered for {GIVE_UP_SECONDS:.0f} seconds")
        for number in ready:
            client = self._clients[number]
            took = client.answered()
            self.answers += 1
            if client.stays:
                self.kept.append(took)
                client.ask_again()
                continue
            self.new.append(took)
            self._epoll.unregister(number)
            del self._clients[number]
            client.socket.close()
            self._new_ones -= 1
            if renew:
                self._connect(client.request, stays=False)
        return set(ready)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that this share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def _report(many: list[Turn], one: list[Turn]) -> None:
    def new(taken: list[Turn], percent: float) -> list[float]:
        return [percentile(turn.new, percent) for turn in taken]

    def kept(taken: list[Turn], percent: float) -> list[float]:
        return [percentile(turn.kept, percent) for turn in taken]

    rates = [[turn.per_second for turn in taken] for taken in (many, one)]
    cpu = [[turn.cpu_us for turn in taken] for taken in (many, one)]
    opened = [[turn.opened_ms for turn in taken] for taken in (many, one)]
    ratios = {
        "a new connection's p99, ours / one accept a turn": turns.ratio(new(many, 99), new(one, 99)),
        "a new connection's p50, ours / one accept a turn": turns.ratio(new(many, 50), new(one, 50)),
        "kept connections, ours, p99.9 / p50": turns.ratio(kept(many, 99.9), kept(many, 50)),
        f"until {KEPT} connections are all answered, ours / one accept a turn": turns.ratio(*opened),
        "requests a second without new connections, ours / one accept a turn": turns.ratio(*rates),
        "server CPU for a request, ours / one accept a turn": turns.ratio(*cpu),
    }
    figures: dict[str, float] = {}
    for name, taken in (("ours", many), ("one accept a turn", one)):
        figures |= {
            f"{name}, a new connection's p50, ms": median(new(taken, 50)),
            f"{name}, a new connection's p99, ms": median(new(taken, 99)),
            f"{name}, kept connections' p50, ms": median(kept(taken, 50)),
            f"{name}, kept connections' p99.9, ms": median(kept(taken, 99.9)),
            f"{name}, kept connections' longest wait, ms": max(max(turn.kept) for turn in taken),
            f"{name}, until {KEPT} connections are all answered, ms": median(turn.opened_ms for turn in taken),
            f"{name}, requests a second": median(turn.per_second for turn in taken),
            f"{name}, CPU microseconds a request": median(turn.cpu_us for turn in taken),
        }
    report("new connections at a busy worker", ratios, figures, TARGETS)


if __name__ == "__main__":
    main()
