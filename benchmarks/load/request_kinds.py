"""The kinds of request that a plan may mix.

Invariants
- A kind is a row: its path, the status of a success, and its body for a channel and a numbered viewer.
- Bodies are the same for every generator, ours and Locust's; viewers are numbered, so that any number can be created.
- Revoked viewers are never those that request tokens: a load must not deny its own requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import count, cycle, islice
from typing import Any, NamedTuple


class TokenRequest(NamedTuple):
    """A token request; a sample is checked against it."""

    channel_arn: str
    viewer_id: str

    def body(self) -> dict[str, str]:
        return {"channelArn": self.channel_arn, "viewerId": self.viewer_id}


class Kind(NamedTuple):
    """One kind of request."""

    path: str
    status: int
    """The status of a success."""
    body: Callable[[Sequence[TokenRequest]], Any]
    viewer: str = "viewer"
    is_batch: bool = False
    """Whether a request may contain several token requests."""
    returns_tokens: bool = True
    """Whether a success contains tokens, of which samples are verified."""


KINDS: dict[str, Kind] = {
    "token": Kind("/v1/tokens", 201, lambda token_requests: token_requests[0].body()),
    "batch": Kind(
        "/v1/tokens/batch",
        200,
        lambda token_requests: {"requests": [token_request.body() for token_request in token_requests]},
        is_batch=True,
    ),
    "revocation": Kind(
        "/v1/revocations", 202, lambda token_requests: token_requests[0].body(), viewer="revoked", returns_tokens=False
    ),
}


class PreparedRequest(NamedTuple):
    """The body of a request."""

    kind: str
    token_requests: tuple[TokenRequest, ...]
    body: bytes


PREPARED_TOKEN_REQUESTS = 5_000
"""Number of different viewers per kind and generator; then they repeat."""


def prepare(name: str, batch_size: int, channels: Sequence[str]) -> Iterator[PreparedRequest]:
    """All different requests of one kind, alternating over the channels."""
    kind = KINDS[name]
    token_requests = (
        TokenRequest(channel, f"{kind.viewer}-{number}")
        for channel, number in zip(cycle(channels), count(), strict=False)
    )
    for _ in range(max(1, PREPARED_TOKEN_REQUESTS // batch_size)):
        batch = tuple(islice(token_requests, batch_size))
        yield PreparedRequest(name, batch, json.dumps(kind.body(batch), separators=(",", ":")).encode())


def rejected_in(kind: str, body: bytes) -> int:
    """How many requests of a successful batch were rejected (a token cannot contain a quotation mark)."""
    return body.count(b'"problem":') if KINDS[kind].is_batch else 0


def tokens_in(body: bytes) -> int:
    """How many tokens a response contains."""
    return body.count(b'"token":')
