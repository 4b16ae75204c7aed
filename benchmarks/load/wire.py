"""Requests as bytes on the wire, prepared once and written many times.

Invariants
- HTTP/1.1 with keep-alive; the headers of a kind differ only in the body's length.
- The API key comes from a file and is only in these bytes: never in a report, a record or an error.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.load.plan import RequestRow
from benchmarks.load.request_kinds import KINDS, TokenRequest, prepare

SEQUENCE_LENGTH = 10_000
"""The number of requests after which their order repeats."""


class Target(NamedTuple):
    """The service under load."""

    url: str
    api_key: str
    channels: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Target({self.url!r})"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.is_encrypted else 80)

    @property
    def is_encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    def tls(self) -> ssl.SSLContext | None:
        """A TLS context with the system's certificate authorities; None for plain HTTP."""
        return ssl.create_default_context() if self.is_encrypted else None


class Request(NamedTuple):
    """One request, ready to be written."""

    kind: str
    token_requests: tuple[TokenRequest, ...]
    data: bytes


def requests(rows: Sequence[RequestRow], target: Target, seed: int) -> Iterator[Request]:
    """An endless sequence of requests, mixed by weight, the same for the same seed."""
    cycles = [cycle(_of_kind(row, target)) for row in rows]
    weights = [row.weight for row in rows]
    sequence = Random(seed).choices(cycles, weights, k=SEQUENCE_LENGTH) if len(rows) > 1 else cycles
    return (next(kind) for kind in cycle(sequence))


def _of_kind(row: RequestRow, target: Target) -> list[Request]:
    kind = KINDS[row.kind]
    prefix = urlsplit(target.url).path.rstrip("/")
    head = (
        f"POST {prefix}{kind.path} HTTP/1.1\r\nHost: {urlsplit(target.url).netloc}\r\n"
        f"Authorization: Bearer {target.api_key}\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode()
    return [
        Request(row.kind, prepared.token_requests, b"%b%d\r\n\r\n%b" % (head, len(prepared.body), prepared.body))
        for prepared in prepare(row.kind, row.batch_size, target.channels)
    ]
