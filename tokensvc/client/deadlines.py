"""The time-out of a whole attempt, for the synchronous client: httpx limits each read, so a server that sends a byte
now and then would never be given up.

Invariants
- A thread sets the end of its attempt before it sends; nothing of the attempt blocks beyond that, except that the
  operating system resolves the name of the host.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx


class Deadline(threading.local):
    """When the attempt of this thread ends, by the monotonic clock."""

    at: float = float("inf")

    def limit(self, timeout: float | None, late: type[Exception]) -> float:
        """The time-out of one operation. Raises `late` if the attempt has ended."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise late
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.limit(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.limit(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit = self._deadline.limit(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, limit), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._backend, self._deadline = httpcore.SyncBackend(), deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        limit = self._deadline.limit(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_tcp(host, port, limit, local_address, socket_options), self._deadline)


def transport(deadline: Deadline, options: dict[str, Any]) -> httpx.HTTPTransport:
    """A transport whose connections respect the deadline. httpx has no option for the backend of its pool."""
    made = httpx.HTTPTransport(**options)
    made._pool._network_backend = _Backend(deadline)  # noqa: SLF001 - tests/client/test_deadlines.py fails if it is renamed
    return made
