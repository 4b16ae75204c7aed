"""What a test observes of the service from outside: revocations, memory, and its responses to other clients.

Invariants
- Only what an operator can see is read: routes and the process table.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psutil

from tests.hostile.messages import bearer, get
from tests.hostile.wire import Address, exchange
from tests.support.processes import Process

MIB = 1024 * 1024


def revoked_viewers(address: Address, channel: str, key: str) -> list[str]:
    """The viewers of the channel that have a revocation."""
    response = exchange(address, get(f"/v1/revocations?channelArn={channel}&maxResults=100", bearer(key)))
    assert response.status == 200, response
    return [target["viewerId"] for revocation in response.json["revocations"] for target in revocation["targets"]]


class Memory:
    """A process's resident memory while a block runs."""

    def __init__(self, process: Process) -> None:
        self._process = psutil.Process(process.pid)
        self.before = self.highest = self._process.memory_info().rss

    @property
    def grown_mib(self) -> float:
        return float(self.highest - self.before) / MIB

    def sample(self) -> None:
        self.highest = max(self.highest, self._process.memory_info().rss)


@contextlib.contextmanager
def memory_of(process: Process) -> Iterator[Memory]:
    """Sample the memory of a service with one worker until the block ends."""
    memory, stopping = Memory(process), threading.Event()

    def sample_until_stopped() -> None:
        while not stopping.wait(0.02):
            memory.sample()

    thread = threading.Thread(target=sample_until_stopped, daemon=True)
    thread.start()
    try:
        yield memory
        memory.sample()
    finally:
        stopping.set()
        thread.join()


@contextlib.contextmanager
def steady_requests(address: Address, request: bytes, status: int) -> Iterator[list[float]]:
    """Send this request repeatedly, each time on a new connection, while the block runs. Yields the list of how many
    seconds each response took. Fails when a response has another status or does not arrive."""
    seconds: list[float] = []
    failures: list[object] = []
    stopping = threading.Event()

    def send_requests() -> None:
        while not stopping.wait(0.05):
            started_at = time.monotonic()
            try:
                response = exchange(address, request)
            except (OSError, AssertionError) as error:
                failures.append(error)
                continue
            if response.status == status:
                seconds.append(time.monotonic() - started_at)
            elif response.status != 503:  # the service may be overloaded, and say so
                failures.append(response)

    thread = threading.Thread(target=send_requests, daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        stopping.set()
        thread.join(60)
    assert not failures, failures[:3]
    assert seconds, "no request of the other client was completed"
