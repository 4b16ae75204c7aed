"""Every route of the service as data: what it takes and gives, how it refuses, and who may call.

Rules of the file
- What the models cannot know stands here, and only that; `openapi.py` makes the page of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import BaseModel

from tokensvc.core.ask import Ask
from tokensvc.diagnostics.status import StatusView
from tokensvc.keys.requests import CompromiseRequest, KeyQuery, RotateKeysRequest
from tokensvc.keys.views import CompromiseView, KeyDetailView, KeyPage, RotationView
from tokensvc.revocations.requests import (
    DenialQuery,
    DenialRequest,
    RevocationBatchRequest,
    RevocationQuery,
    RevocationRequest,
)
from tokensvc.revocations.views import (
    AcceptedRevocation,
    DenialPage,
    DenialsWritten,
    RevocationPage,
    RevocationView,
)
from tokensvc.web.answers import Alive, BatchAnswer, BatchAsk, JwkSet, Ready, RevocationBatchAnswer, TokenAnswer


class Operation(NamedTuple):
    """One method of a path."""

    method: str
    summary: str
    takes: type[BaseModel] | None
    status: int
    gives: type[BaseModel] | None
    refusals: tuple[int, ...]
    scope: str = ""
    query: type[BaseModel] | None = None
    also: Operation | None = None
    """The same path with another method."""
    headers: tuple[str, ...] = ()
    """Request headers beside the usual ones."""


_REFUSED_WHOLE = (400, 401, 403, 408, 413, 415, 422, 503)
_REFUSED_READ = (401, 403, 422, 503)
_WRITE, _READ = "revocations:write", "revocations:read"

OPERATIONS: dict[str, Operation] = {
    "/v1/tokens": Operation("post", "Ask for a token", Ask, 201, TokenAnswer, (*_REFUSED_WHOLE, 404), "tokens:issue"),
    "/v1/tokens/batch": Operation(
        "post",
        "Ask for up to 500 tokens",
        BatchAsk,
        200,
        BatchAnswer,
        _REFUSED_WHOLE,
        "tokens:issue",
    ),
    "/v1/revocations": Operation(
        "post",
        "End a viewer's sessions, and let it have no token until every worker has heard",
        RevocationRequest,
        202,
        AcceptedRevocation,
        _REFUSED_WHOLE,
        _WRITE,
        also=Operation(
            "get", "Revocations, newest first", None, 200, RevocationPage, _REFUSED_READ, _READ, query=RevocationQuery
        ),
        headers=("Idempotency-Key",),
    ),
    "/v1/revocations/batch": Operation(
        "post",
        "Up to 1,000 revocations",
        RevocationBatchRequest,
        202,
        RevocationBatchAnswer,
        _REFUSED_WHOLE,
        _WRITE,
        headers=("Idempotency-Key",),
    ),
    "/v1/revocations/{id}": Operation(
        "get", "How far a revocation has come", None, 200, RevocationView, (401, 403, 404, 503), _READ
    ),
    "/v1/revocations/{id}/retry": Operation(
        "post", "Queue again what of it failed", None, 200, RevocationView, (401, 403, 404, 503), _WRITE
    ),
    "/v1/revocations/{id}/cancel": Operation(
        "post", "Give up what of it is still queued", None, 200, RevocationView, (401, 403, 404, 503), _WRITE
    ),
    "/v1/denials": Operation(
        "post",
        "Let a viewer have no tokens for a while",
        DenialRequest,
        201,
        DenialsWritten,
        _REFUSED_WHOLE,
        _WRITE,
        also=Operation(
            "get",
            "Denials in force, last written first",
            None,
            200,
            DenialPage,
            _REFUSED_READ,
            _READ,
            query=DenialQuery,
        ),
    ),
    "/v1/denials/{id}": Operation(
        "delete", "Let the viewer have tokens again", None, 204, None, (401, 403, 404, 503), _WRITE
    ),
    "/v1/status": Operation("get", "How the deployment does", None, 200, StatusView, (401, 403, 503), "keys:read"),
    "/v1/keys": Operation("get", "The key pairs", None, 200, KeyPage, _REFUSED_READ, "keys:read", query=KeyQuery),
    "/v1/keys/rotate": Operation(
        "post",
        "Ask for another key to sign",
        RotateKeysRequest,
        202,
        RotationView,
        (*_REFUSED_WHOLE, 409),
        "keys:admin",
    ),
    "/v1/keys/rotations/{id}": Operation(
        "get", "How far a rotation is", None, 200, RotationView, (*_REFUSED_READ, 404), "keys:read"
    ),
    "/v1/keys/{id}": Operation(
        "get",
        "A key pair, its history, and who has not heard",
        None,
        200,
        KeyDetailView,
        (*_REFUSED_READ, 404),
        "keys:read",
    ),
    "/v1/keys/{id}/compromise": Operation(
        "post",
        "Never sign with a key again, and delete its pairs",
        CompromiseRequest,
        202,
        CompromiseView,
        (*_REFUSED_WHOLE, 404),
        "keys:admin",
    ),
    "/livez": Operation("get", "Does the process answer", None, 200, Alive, ()),
    "/readyz": Operation("get", "Can this worker sign now", None, 200, Ready, (503,)),
    "/.well-known/jwks.json": Operation("get", "The public halves that tokens verify with", None, 200, JwkSet, ()),
    "/openapi.json": Operation("get", "This page", None, 200, None, ()),
    "/metrics": Operation("get", "Figures in Prometheus's text format", None, 200, None, ()),
}
"""Every route of the service, by path."""


def operations() -> Iterator[tuple[str, Operation]]:
    """Every route and method."""
    for path, o in OPERATIONS.items():
        yield path, o
        if o.also is not None:
            yield path, o.also
