"""The program that callgrind counts: `python -m benchmarks.guard.callgrind_target`, run by `instructions.py`.

Invariants
- The service is the real one, assembled as `serve` does, on the store that the environment names. A null transport
  replaces the network; requests and responses are bytes.
- `os.getppid` marks the start and end of a part: callgrind dumps its counters wherever it is called.
- Every part runs often enough before it is counted, so that one-time work is not included.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from itertools import cycle
from typing import Any

import uvloop

from benchmarks.sign import CHANNEL, RAW, VIEWER, contenders
from tokensvc.container.application import build_application
from tokensvc.container.service import assemble
from tokensvc.settings import read_settings
from tokensvc.web.open_connections import ConnectionState
from tokensvc.web.protocol import Protocol
from tokensvc.web.server import make_server

API_KEY_VARIABLE = "BENCHMARK_API_KEY"
MARK = "getppid"
REPETITIONS = 100
BATCH = 100
WARM_UP_TIMES = 20
PARTS = {
    "signature": REPETITIONS,
    "token": REPETITIONS,
    "request": REPETITIONS,
    "changed headers": REPETITIONS,
    "batch": BATCH,
}
"""The parts in the order in which they are counted, each with its number of tokens or signatures."""


class NullTransport(asyncio.Transport):
    """A connection whose peer accepts everything immediately; holds the last data written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 80)})
        self.last = b""

    def write(self, data: Any) -> None:
        self.last = bytes(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """No data arrives other than what `main` passes in."""

    def resume_reading(self) -> None:
        """As above."""

    def close(self) -> None:
        """Nothing to close."""


def main() -> None:
    service = assemble(read_settings({k: v for k, v in os.environ.items() if k.startswith("TOKENSVC_")}))
    service.refresh.run_once()
    loop = uvloop.new_event_loop()
    application: Any = build_application(service).asgi
    config = make_server(application, lambda: None, delay_seconds=0).config
    state, transport = ConnectionState(), NullTransport()
    state.default_headers = [(b"date", b"Sat, 21 Nov 2026 10:00:00 GMT")]
    connection = Protocol(config, state, {}, loop)
    connection.connection_made(transport)
    body = {"channelArn": CHANNEL, "viewerId": VIEWER}
    single, batch = _request("/v1/tokens", body), _request("/v1/tokens/batch", {"requests": [body] * BATCH})
    traced = cycle(single.replace(b"Host:", b"X-Trace: %d\r\nHost:" % number) for number in (1, 2))

    def handle_single(request: bytes) -> None:
        connection.data_received(request)
        application.flush()  # as if no other request arrived in this event-loop iteration

    def handle_batch() -> None:
        connection.data_received(batch)
        loop.run_until_complete(asyncio.gather(*state.tasks))

    async def count_singles() -> None:
        _count(lambda: handle_single(single), REPETITIONS)
        _count(lambda: handle_single(next(traced)), REPETITIONS)

    calls = contenders()
    _count(calls[RAW], REPETITIONS)
    _count(calls["tokensvc"], REPETITIONS)
    loop.run_until_complete(count_singles())
    _require(b"201", transport.last)
    _count(handle_batch, 1)
    _require(b'{"results":[{"token":', transport.last)
    connection.connection_lost(None)
    loop.close()
    service.store.close()


def _count(call: Callable[[], object], times: int) -> None:
    for _ in range(WARM_UP_TIMES if times > 1 else 1):
        call()
    os.getppid()
    for _ in range(times):
        call()
    os.getppid()


def _request(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {os.environ[API_KEY_VARIABLE]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _require(expected: bytes, response: bytes) -> None:
    if expected not in response:
        raise SystemExit(f"unexpected response of the service: {response[:200]!r}")


if __name__ == "__main__":
    main()
