"""Overloads a worker: an open loop at 70 % and at 400 % of what it can do, with probes beside it.

    python -m benchmarks.overload [--seconds 60] [--signature-ms 1]

The worker signs at a fixed cost (`slow_signer.py`), so that the generator, in Python and on the other core, is not what
limits. Requests are sent when they are due, whether or not earlier ones have responses; each waits for a connection of
its own, and its latency counts from when it was due.

Reports the latency of accepted requests, what the others got, `/livez` without and under load, and the server's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
from collections import Counter, deque
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
import uvloop

from benchmarks import servers, slow_signer

CONNECTIONS = 400
PROBES_PER_SECOND = 50
CALIBRATION_SECONDS = 3
CALIBRATION_CONNECTIONS = 8


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._on_response: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # always a stream here
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._data = b""
            self._on_response(self, int(head[9:12]))

    def send(self, request: bytes, on_response: Any) -> None:
        self._on_response = on_response
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()


class Outcome(NamedTuple):
    """What the requests of one phase got."""

    seconds: float
    statuses: dict[int, int]
    accepted_ms: list[float]
    """Sorted latencies."""
    probes_ms: list[float]

    def summary(self) -> dict[str, Any]:
        sent = sum(self.statuses.values())
        return {
            "requests_per_second": round(sent / self.seconds),
            "accepted_per_second": round(len(self.accepted_ms) / self.seconds),
            "statuses": self.statuses,
            "rejected_share": round(1 - len(self.accepted_ms) / sent, 3) if sent else 0,
            "accepted_ms": _percentiles(self.accepted_ms),
            "livez_ms": _percentiles(self.probes_ms),
        }


def _percentiles(ordered: list[float]) -> dict[str, float]:
    return {f"p{p}": round(ordered[int(len(ordered) * p / 100)], 2) for p in (50, 99)} if ordered else {}


def _request_of(running: servers.RunningService) -> bytes:
    body = json.dumps({"channelArn": str(servers.CHANNEL), "viewerId": "viewer"}).encode()
    head = f"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.api_key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _connect(url: str, count: int) -> list[_Connection]:
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    host, port = str(address.hostname), address.port or 80
    made = [await loop.create_connection(_Connection, host, port) for _ in range(count)]
    return [protocol for _, protocol in made]


async def closed_loop(running: servers.RunningService, seconds: float) -> float:
    """Tokens per second when a few clients ask one after another: what the worker can do."""
    request, count, until = _request_of(running), 0, perf_counter() + seconds
    connections = await _connect(running.url, CALIBRATION_CONNECTIONS)

    def next_request(connection: _Connection, status: int) -> None:
        nonlocal count
        assert status == 201, status
        count += 1
        if perf_counter() < until:
            connection.send(request, next_request)

    for connection in connections:
        connection.send(request, next_request)
    await asyncio.sleep(seconds + 0.2)
    for connection in connections:
        connection.close()
    return count / seconds


async def open_loop(running: servers.RunningService, per_second: float, seconds: float) -> Outcome:
    """Requests at a steady rate, and probes on a connection of their own."""
    request, statuses = _request_of(running), Counter[int]()
    accepted, probes, due = list[float](), list[float](), deque[float]()
    idle = await _connect(running.url, CONNECTIONS)
    connections = list(idle)

    def send(connection: _Connection) -> None:
        due_at = due.popleft()

        def respond(connection: _Connection, status: int) -> None:
            statuses[status] += 1
            if status == 201:
                accepted.append((perf_counter() - due_at) * 1000)
            if due:
                send(connection)
            else:
                idle.append(connection)

        connection.send(request, respond)

    async def probe(until: float) -> None:
        (connection,) = await _connect(running.url, 1)
        while (started := perf_counter()) < until:
            response: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", lambda _c, s, r=response: r.set_result(s))
            assert await response == 200
            probes.append((perf_counter() - started) * 1000)
            await asyncio.sleep(max(0.0, started + 1 / PROBES_PER_SECOND - perf_counter()))
        connection.close()

    started, sent = perf_counter(), 0
    probing = asyncio.create_task(probe(started + seconds))
    while (now := perf_counter()) < started + seconds:
        while sent < (now - started) * per_second:
            due.append(started + sent / per_second)
            sent += 1
            if idle:
                send(idle.pop())
        await asyncio.sleep(0.0005)
    due.clear()
    await probing
    await asyncio.sleep(0.5)
    for connection in connections:
        connection.close()
    return Outcome(seconds, dict(statuses), sorted(accepted), sorted(probes))


def measure(seconds: float, signature_seconds: float) -> dict[str, Any]:
    """All phases, against one worker."""
    with tempfile.TemporaryDirectory() as folder:
        environ, api_key = servers.create_deployment(Path(folder))
        settings = {"TOKENSVC_SIGNER": "aws-lc", slow_signer.ENVIRONMENT: str(signature_seconds)}
        with servers.run_service(Path(folder), environ | settings, api_key, "benchmarks.slow_signer") as running:
            os.sched_setaffinity(0, {servers.LOAD_CORE})
            gc.freeze()
            server = psutil.Process(running.pid)

            async def run() -> dict[str, Any]:
                peak = await closed_loop(running, CALIBRATION_SECONDS)
                idle = await open_loop(running, 0, min(seconds, 10))
                usual = await open_loop(running, peak * 0.7, min(seconds, 15))
                await open_loop(running, peak * 4, min(seconds, 3))  # so that memory is at its level
                before = server.memory_info().rss
                overloaded = await open_loop(running, peak * 4, seconds)
                after = server.memory_info().rss
                return {
                    "peak_per_second": round(peak),
                    "idle_livez_ms": _percentiles(idle.probes_ms),
                    "at_70_percent": usual.summary(),
                    "at_400_percent": overloaded.summary(),
                    "rss_mib": {"before": round(before / 2**20, 1), "after": round(after / 2**20, 1)},
                }

            return uvloop.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of the overload")
    parser.add_argument("--signature-ms", type=float, default=1, help="the cost of a signature")
    options = parser.parse_args()
    print(json.dumps(measure(options.seconds, options.signature_ms / 1000), indent=2))


if __name__ == "__main__":
    main()
