"""Overloads a worker: an open loop at 70 % and at 400 % of what it can do, with probes beside it.

    python -m benchmarks.overload [--seconds 60] [--signature-ms 1] [--json]

The worker signs at a fixed cost (`slow_signer.py`), so that the generator, in Python and on the other core, is not what
limits. A request is sent when it is due, whether or not earlier ones have responses, while one of the 400 connections
is free; otherwise it waits for one, and its latency counts from when it was due all the same. Those that still wait at
the end are counted as unsent, and those without a response as unanswered: a server that stalls has many of both.

A worker needs a moment to notice that it is overloaded, and what it accepted until then waits longer. Of a minute that
is about a hundredth; shorter runs look at the latencies after the first second.

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
from benchmarks.report import report

CONNECTIONS = 400
PROBES_PER_SECOND = 50
CALIBRATION_SECONDS = 3
CALIBRATION_CONNECTIONS = 8
ONSET_SECONDS = 1
"""After this, a worker has noticed that it is overloaded, and has answered what it accepted before."""
ACCEPTED = "p99 of accepted requests at 400 % / at 70 %"
LIVEZ = "p99 of /livez at 400 % / idle"
TARGETS = {ACCEPTED: 10.0, LIVEZ: 5.0}
"""At most."""


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


class _Latency(NamedTuple):
    """Of one response."""

    due_at: float
    """When its request was due, in seconds from the start of the phase."""
    ms: float


class Outcome(NamedTuple):
    """What the requests of one phase got."""

    seconds: float
    statuses: dict[int, int]
    accepted: list[_Latency]
    probes: list[_Latency]
    unsent: int
    """How many still waited for a connection at the end."""
    unanswered: int
    """How many were sent and have no response half a second after the end."""

    def summary(self) -> dict[str, Any]:
        answered = sum(self.statuses.values())
        return {
            "responses_per_second": round(answered / self.seconds),
            "accepted_per_second": round(len(self.accepted) / self.seconds),
            "statuses": self.statuses,
            "rejected_share": round(1 - len(self.accepted) / answered, 3) if answered else 0,
            "unsent": self.unsent,
            "unanswered": self.unanswered,
            "accepted_ms": _percentiles(self.accepted),
            "livez_ms": _percentiles(self.probes),
            "accepted_after_onset_ms": _percentiles(self.accepted, ONSET_SECONDS),
            "livez_after_onset_ms": _percentiles(self.probes, ONSET_SECONDS),
        }


def _percentiles(latencies: list[_Latency], since: float = 0) -> dict[str, float]:
    ordered = sorted(latency.ms for latency in latencies if latency.due_at >= since)
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
    """Requests that are due at a steady rate, and probes on a connection of their own."""
    request, statuses = _request_of(running), Counter[int]()
    accepted, probes, due = list[_Latency](), list[_Latency](), deque[float]()
    idle = await _connect(running.url, CONNECTIONS)
    connections = list(idle)

    def send(connection: _Connection) -> None:
        due_at = due.popleft()

        def respond(connection: _Connection, status: int) -> None:
            statuses[status] += 1
            if status == 201:
                accepted.append(_Latency(due_at - started, (perf_counter() - due_at) * 1000))
            if due:
                send(connection)
            else:
                idle.append(connection)

        connection.send(request, respond)

    async def probe(until: float) -> None:
        (connection,) = await _connect(running.url, 1)
        while (sent_at := perf_counter()) < until:
            response: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", lambda _c, s, r=response: r.set_result(s))
            assert await response == 200
            probes.append(_Latency(sent_at - started, (perf_counter() - sent_at) * 1000))
            await asyncio.sleep(max(0.0, sent_at + 1 / PROBES_PER_SECOND - perf_counter()))
        connection.close()

    started, count = perf_counter(), 0
    probing = asyncio.create_task(probe(started + seconds))
    while (now := perf_counter()) < started + seconds:
        while count < (now - started) * per_second:
            due.append(started + count / per_second)
            count += 1
            if idle:
                send(idle.pop())
        await asyncio.sleep(0.0005)
    unsent = len(due)
    due.clear()
    await probing
    await asyncio.sleep(0.5)
    for connection in connections:
        connection.close()
    unanswered = count - unsent - sum(statuses.values())
    return Outcome(seconds, dict(statuses), accepted, probes, unsent, unanswered)


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
                    "idle_livez_ms": _percentiles(idle.probes),
                    "at_70_percent": usual.summary(),
                    "at_400_percent": overloaded.summary(),
                    "rss_mib": {"before": round(before / 2**20, 1), "after": round(after / 2**20, 1)},
                }

            return uvloop.run(run())


def ratios_of(result: dict[str, Any]) -> dict[str, float]:
    """What the targets are for."""
    usual, overloaded = result["at_70_percent"], result["at_400_percent"]
    return {
        ACCEPTED: overloaded["accepted_ms"]["p99"] / usual["accepted_ms"]["p99"],
        LIVEZ: overloaded["livez_ms"]["p99"] / result["idle_livez_ms"]["p99"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of the overload")
    parser.add_argument("--signature-ms", type=float, default=1, help="the cost of a signature")
    parser.add_argument("--json", action="store_true", help="print one object")
    options = parser.parse_args()
    result = measure(options.seconds, options.signature_ms / 1000)
    figures = {"tokens per second": result["peak_per_second"], "p99 of /livez idle, ms": result["idle_livez_ms"]["p99"]}
    for phase, load in (("at_70_percent", "at 70 %"), ("at_400_percent", "at 400 %")):
        summary = result[phase]
        figures |= {
            f"accepted per second {load}": summary["accepted_per_second"],
            f"responses per second {load}": summary["responses_per_second"],
            f"p99 of accepted requests {load}, ms": summary["accepted_ms"]["p99"],
            f"p99 of /livez {load}, ms": summary["livez_ms"]["p99"],
            f"unsent {load}": summary["unsent"],
            f"unanswered {load}": summary["unanswered"],
        }
    figures["memory under load, MiB"] = result["rss_mib"]["after"]
    figures["memory before, MiB"] = result["rss_mib"]["before"]
    report("an overloaded worker", ratios_of(result), figures, TARGETS)


if __name__ == "__main__":
    main()
