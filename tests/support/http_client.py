"""An independent API client: urllib3, one keep-alive connection, no retries.

Invariants
- It uses none of the service's code.
- Under load, a request without a response counts as a response with status 0; elsewhere it raises an exception.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import urllib3
from urllib3.exceptions import HTTPError


class Response(NamedTuple):
    """A response."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def worker(self) -> str:
        """The part of the request id that identifies the worker."""
        return str(self.headers["x-request-id"]).partition("-")[0]


class Client:
    """One caller with one connection."""

    def __init__(self, url: str, key: str = "", **connection: Any) -> None:
        """`connection`: what else urllib3 should know of it, such as `ca_certs`."""
        self._pool = urllib3.connectionpool.connection_from_url(
            url, maxsize=1, block=True, retries=False, timeout=urllib3.Timeout(30), **connection
        )
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

    def request(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """Send a request unchanged."""
        all_headers = self._headers | (headers or {})
        response = self._pool.request(method, path, body=body, headers=all_headers, redirect=False)
        return Response(response.status, response.headers, response.data)

    def get(self, path: str) -> Response:
        return self.request("GET", path)

    def request_token(self, **fields: object) -> Response:
        """Request one token."""
        return self.request("POST", "/v1/tokens", json.dumps(fields))

    def request_batch(self, requests: list[Any]) -> Response:
        """Request a batch of tokens."""
        return self.request("POST", "/v1/tokens/batch", json.dumps({"requests": requests}))

    def token(self, **fields: object) -> Any:
        """Request one token, which must be issued; return the response body."""
        response = self.request_token(**fields)
        assert response.status == 201, response.body
        return response.json


@contextmanager
def client_per_worker(url: str, key: str, count: int) -> Iterator[dict[str, Client]]:
    """Clients with keep-alive connections to that many different workers, by worker."""
    clients: list[Client] = []
    by_worker: dict[str, Client] = {}
    ends_at = time.monotonic() + 30
    try:
        while len(by_worker) < count:
            assert time.monotonic() < ends_at, f"only {len(by_worker)} of {count} workers respond"
            clients.append(Client(url, key))
            by_worker.setdefault(clients[-1].get("/livez").worker, clients[-1])
            time.sleep(0.01)
        yield by_worker
    finally:
        for client in clients:
            client.close()


def fetch(url: str, headers: dict[str, str] | None = None) -> Response:
    """Request a URL once, as a player does."""
    response = urllib3.request("GET", url, headers=headers, retries=False, timeout=30)
    return Response(response.status, response.headers, response.data)


class TimedRequest(NamedTuple):
    """One request under load."""

    started_at: float
    finished_at: float
    status: int
    code: str
    """The error's code, or the transport's error text."""
    retry_after: str


class Load:
    """Callers that request tokens continuously until stopped."""

    def __init__(self) -> None:
        self.requests: list[TimedRequest] = []
        self._stopping = threading.Event()

    def statuses(self, started_after: float = 0.0, started_before: float = float("inf")) -> set[int]:
        """The statuses of all requests that started in that time."""
        return {request.status for request in self.requests if started_after <= request.started_at < started_before}

    def stop(self) -> None:
        self._stopping.set()

    def request_continuously(
        self, url: str, key: str, channel_arn: str, pause_seconds: float, connection: dict[str, Any]
    ) -> None:
        with Client(url, key, **connection) as client:
            while not self._stopping.wait(pause_seconds):
                started_at = time.monotonic()
                try:
                    response = client.request_token(channelArn=channel_arn, viewerId="under-load")
                except HTTPError as error:
                    status, code, retry_after = 0, str(error), ""
                else:
                    status, retry_after = response.status, response.headers.get("retry-after", "")
                    code = "" if status == 201 else response.json["code"]
                self.requests.append(TimedRequest(started_at, time.monotonic(), status, code, retry_after))


@contextmanager
def load(
    url: str, key: str, channel_arn: str, *, callers: int = 4, pause_seconds: float = 0.01, **connection: Any
) -> Iterator[Load]:
    """Request tokens while the block runs; the list of requests is complete after it."""
    running = Load()
    threads = [
        threading.Thread(
            target=running.request_continuously,
            args=(url, key, channel_arn, pause_seconds, connection),
            daemon=True,
        )
        for _ in range(callers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stop()
        for thread in threads:
            thread.join(30)
