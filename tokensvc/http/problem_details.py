"""Failure -> response, in one place: RFC 9457 problem details.

Rules of the file
- STATUS maps each family of the tree in `errors/`; a leaf is rendered as its nearest mapped parent says.
- Every 429 and 503 carries Retry-After, so a class with such a status has `retry_after_seconds`.
- A remedy becomes words without commands and settings (`diagnostics/problems.py`).
- What is not ours gets one fixed text and the request id; its own words go to the log alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from tokensvc.diagnostics.problems import remedy_text
from tokensvc.errors import (
    CannotSign,
    Conflict,
    ControlPlaneError,
    InvalidRequest,
    MalformedRequest,
    NotAllowed,
    NotFound,
    PlaybackUrlUnavailable,
    RequestTimeout,
    RequestTooLarge,
    RotationBlocked,
    SettingsError,
    StoreError,
    TokensvcError,
    Unauthenticated,
    UnsupportedMediaType,
    VaultError,
    WrappingKeyUnavailable,
)

Headers = tuple[tuple[bytes, bytes], ...]
JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
PROBLEM_JSON: tuple[bytes, bytes] = (b"content-type", b"application/problem+json")

STATUS: dict[type[TokensvcError], int] = {
    MalformedRequest: 400,
    Unauthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    RotationBlocked: 503,
    PlaybackUrlUnavailable: 503,
    RequestTimeout: 408,
    RequestTooLarge: 413,
    UnsupportedMediaType: 415,
    InvalidRequest: 422,
    SettingsError: 500,
    VaultError: 500,
    WrappingKeyUnavailable: 503,
    ControlPlaneError: 502,
    CannotSign: 503,
    StoreError: 503,
}


class Response(NamedTuple):
    """What goes back: status, body, the headers that belong to this answer alone, and the code for log and metrics."""

    status: int
    body: bytes
    headers: Headers
    code: str


def status_of(failure: TokensvcError) -> int:
    """The HTTP status of a failure: its own, or its nearest parent's."""
    return next(STATUS[kind] for kind in type(failure).__mro__ if kind in STATUS)


def problem_details(failure: TokensvcError) -> dict[str, Any]:
    """The failure as problem details."""
    fields = make_problem(status_of(failure), failure.code, failure.message + remedy_text(failure.remedy))
    if isinstance(failure, InvalidRequest) and failure.errors:
        fields["errors"] = [{"field": e.field, "message": e.message} for e in failure.errors]
    if failure.retry_after_seconds is not None:
        fields["retryAfterSeconds"] = failure.retry_after_seconds
    return fields


def make_problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """Problem details from their parts."""
    return {
        "type": f"urn:tokensvc:problem:{code}",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
    }


def error_response(failure: TokensvcError) -> Response:
    """The whole answer to a request that failed."""
    headers: Headers = (PROBLEM_JSON,)
    if isinstance(failure, Unauthenticated):
        headers += ((b"www-authenticate", b'Bearer realm="tokensvc"'),)
    if isinstance(failure, UnsupportedMediaType):
        headers += ((b"accept", b"application/json"), (b"accept-encoding", b"identity"))
    if failure.retry_after_seconds is not None:
        headers += ((b"retry-after", str(failure.retry_after_seconds).encode()),)
    return Response(status_of(failure), orjson.dumps(problem_details(failure)), headers, failure.code)


def problem_response(status: int, code: str, detail: str, headers: Headers = ()) -> Response:
    """An answer to what never reached a use case: no such route, wrong method, headers too large."""
    return Response(status, orjson.dumps(make_problem(status, code, detail)), (PROBLEM_JSON, *headers), code)


def internal_error(request_id: str) -> Response:
    """The one answer to everything that is not ours to explain."""
    return problem_response(500, "internal_error", f"Something failed on our side; its id in our log is {request_id}.")
