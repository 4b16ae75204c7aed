"""Renders errors as RFC 9457 problem details.

Invariants
- STATUS maps each family of the tree in `errors.py`; a leaf gets the status of its nearest mapped parent.
- Every 429 and 503 carries Retry-After, so a class with such a status has `retry_after_seconds`.
- The text of a remedy names no commands or settings (`diagnostics/problems.py`).
- An unexpected exception gets a fixed text with the request id; its own message is never sent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from tokensvc.diagnostics.problems import remedy_text
from tokensvc.errors import (
    CannotSign,
    Conflict,
    ControlPlaneError,
    InsufficientScope,
    InvalidRequest,
    IssuerUnavailable,
    LimiterUnavailable,
    MalformedRequest,
    NotAllowed,
    NotFound,
    OutputUnwritable,
    Overloaded,
    PlaybackUrlUnavailable,
    PolicyHookUnavailable,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    RotationBlocked,
    ServiceUnreachable,
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
    RateLimited: 429,
    Overloaded: 503,
    IssuerUnavailable: 503,
    LimiterUnavailable: 503,
    PolicyHookUnavailable: 503,
    RequestTimeout: 408,
    RequestTooLarge: 413,
    UnsupportedMediaType: 415,
    InvalidRequest: 422,
    SettingsError: 500,
    OutputUnwritable: 500,
    VaultError: 500,
    WrappingKeyUnavailable: 503,
    ControlPlaneError: 502,
    ServiceUnreachable: 502,
    CannotSign: 503,
    StoreError: 503,
}


class Response(NamedTuple):
    """A response: status, body, its own headers, and the code for log and metrics."""

    status: int
    body: bytes
    headers: Headers
    code: str


def status_of(error: TokensvcError) -> int:
    """The HTTP status of an error: that of its class, or of the nearest mapped parent."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_details(error: TokensvcError) -> dict[str, Any]:
    """The problem details of an error."""
    fields = make_problem(status_of(error), error.code, error.message + remedy_text(error.remedy))
    if isinstance(error, InvalidRequest) and error.errors:
        fields["errors"] = [{"field": e.field, "message": e.message} for e in error.errors]
    if error.retry_after_seconds is not None:
        fields["retryAfterSeconds"] = error.retry_after_seconds
    return fields


def make_problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """Problem details from their members."""
    return {
        "type": f"urn:tokensvc:problem:{code}",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
    }


def error_response(error: TokensvcError) -> Response:
    """The response to a request that failed with an error of ours."""
    headers: Headers = (PROBLEM_JSON,)
    if isinstance(error, Unauthenticated | InsufficientScope):
        headers += ((b"www-authenticate", _challenge(error).encode()),)
    if isinstance(error, UnsupportedMediaType):
        headers += ((b"accept", b"application/json"), (b"accept-encoding", b"identity"))
    if isinstance(error, RequestTimeout):
        headers += ((b"connection", b"close"),)  # RFC 9110, section 15.5.9: the rest of the body may still come
    if error.retry_after_seconds is not None:
        headers += ((b"retry-after", str(error.retry_after_seconds).encode()),)
    if isinstance(error, RateLimited):
        headers += _rate_limit(error)
    return Response(status_of(error), orjson.dumps(problem_details(error)), headers, error.code)


def _rate_limit(error: RateLimited) -> Headers:
    """The limit that refused the request, and when it admits the next one (draft-ietf-httpapi-ratelimit-headers)."""
    remaining = f'"{error.limit}";r=0;t={error.retry_after_seconds}'
    return ((b"ratelimit-policy", error.policy.encode()), (b"ratelimit", remaining.encode()))


def _challenge(error: Unauthenticated | InsufficientScope) -> str:
    """The WWW-Authenticate challenge, with the scope that the operation requires (RFC 6750, section 3). A request
    without credentials gets no error code (section 3.1)."""
    if isinstance(error, InsufficientScope):
        code, scope = "insufficient_scope", str(error.subject.get("scope", ""))
    else:
        code, scope = "invalid_token" if error.credentials_sent else "", error.required_scope
    fields = {"realm": "tokensvc", "error": code, "scope": scope}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in fields.items() if value)


def problem_response(status: int, code: str, detail: str, headers: Headers = ()) -> Response:
    """The response to a request that reached no use case: unknown route, wrong method, headers too large."""
    return Response(status, orjson.dumps(make_problem(status, code, detail)), (PROBLEM_JSON, *headers), code)


def internal_error(request_id: str) -> Response:
    """The response to an unexpected exception."""
    return problem_response(500, "internal_error", f"Internal error; the server's log has it as request {request_id}.")
