"""Failure -> response, in one place: RFC 9457 problem details.

Rules of the file
- STATUS maps each family of the tree in `errors/`; a leaf is rendered as its nearest mapped parent says.
- Every 429 and 503 carries Retry-After, so a class with such a status has `retry_after_seconds`.
- A remedy becomes words without commands and settings (REMEDIES).
- What is not ours gets one fixed text and the request id; its own words go to the log alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from tokensvc.core.problem import Problem, problem_text
from tokensvc.errors import (
    Action,
    CannotSign,
    Conflict,
    ControlPlaneError,
    InvalidRequest,
    KeptBack,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PlaybackUrlUnavailable,
    Remedy,
    RequestTooLarge,
    RequestTooSlow,
    SettingsError,
    StoreError,
    TokensvcError,
    UnreadableRequest,
    UnsupportedMediaType,
    VaultError,
    WrappingKeyUnavailable,
)

Headers = tuple[tuple[bytes, bytes], ...]
JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
PROBLEM_JSON: tuple[bytes, bytes] = (b"content-type", b"application/problem+json")

STATUS: dict[type[TokensvcError], int] = {
    UnreadableRequest: 400,
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    KeptBack: 503,
    PlaybackUrlUnavailable: 503,
    RequestTooSlow: 408,
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


REMEDIES: dict[Action, str] = {
    Action.UPGRADE_SCHEMA: "; its schema has to be upgraded",
    Action.ADD_PREVIOUS_PASSPHRASE: "; it has to be configured too, for decryption",
    Action.ADD_PREVIOUS_KMS_KEY: "; it has to be configured too, for decryption",
    Action.REPLACE_SIGNER: ". Take the machine out of service, or configure another signer there",
    Action.GENERATE_KEY: "; an operator has to generate one",
    Action.ROTATE_KEYS: "; rotate it first: POST /v1/keys/rotate",
    Action.RESUME_ROTATION: "; an operator has to let the rotation resume first",
    Action.ACTIVATE_KEY: ", and activate the key if it is right",
    Action.COMPROMISE_KEY: ". If it is compromised: POST /v1/keys/{key_id}/compromise",
    Action.ADOPT_KEY_PAIR: ". If it is yours, it can be adopted",
    Action.DELETE_KEY_PAIR: ": delete it when no token of key {key_id} is needed",
    Action.FREE_KEY_SLOT: ". Delete a prepared key pair, or one that is not ours, to make room",
    Action.CONFIGURE_REGION: "; configure the region, or cancel them: POST /v1/revocations/{{id}}/cancel",
}
"""What follows the words about a failure or a problem, for those remedies that a caller may hear of. No commands: what
answers over HTTP does not know how it is operated."""


class Answer(NamedTuple):
    """What goes back: status, body, the headers that belong to this answer alone, and the code for log and metrics."""

    status: int
    body: bytes
    headers: Headers
    code: str


def status_of(failure: TokensvcError) -> int:
    """The HTTP status of a failure: its own, or its nearest parent's."""
    return next(STATUS[kind] for kind in type(failure).__mro__ if kind in STATUS)


def remedy_text(remedy: Remedy | None) -> str:
    """What follows the words about a failure or a problem; "" where there is nothing to be said of a remedy."""
    if remedy is None:
        return ""
    return REMEDIES.get(remedy.action, "").format_map({"key_id": "{id}", **remedy.parameters})


def problem_sentence(background: Problem) -> str:
    """A background problem in words, with its remedy."""
    return problem_text(background) + remedy_text(background.remedy)


def problem(failure: TokensvcError) -> dict[str, Any]:
    """The failure as problem details."""
    fields = problem_of(status_of(failure), failure.code, failure.message + remedy_text(failure.remedy))
    if isinstance(failure, InvalidRequest) and failure.errors:
        fields["errors"] = [{"field": e.field, "message": e.message} for e in failure.errors]
    if failure.retry_after_seconds is not None:
        fields["retryAfterSeconds"] = failure.retry_after_seconds
    return fields


def problem_of(status: int, code: str, detail: str) -> dict[str, Any]:
    """Problem details from their parts."""
    return {
        "type": f"urn:tokensvc:problem:{code}",
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
        "code": code,
    }


def refusal(failure: TokensvcError) -> Answer:
    """The whole answer to a request that failed."""
    headers: Headers = (PROBLEM_JSON,)
    if isinstance(failure, NotAuthenticated):
        headers += ((b"www-authenticate", b'Bearer realm="tokensvc"'),)
    if isinstance(failure, UnsupportedMediaType):
        headers += ((b"accept", b"application/json"), (b"accept-encoding", b"identity"))
    if failure.retry_after_seconds is not None:
        headers += ((b"retry-after", str(failure.retry_after_seconds).encode()),)
    return Answer(status_of(failure), orjson.dumps(problem(failure)), headers, failure.code)


def plain_refusal(status: int, code: str, detail: str, headers: Headers = ()) -> Answer:
    """An answer to what never reached a use case: no such route, wrong method, headers too large."""
    return Answer(status, orjson.dumps(problem_of(status, code, detail)), (PROBLEM_JSON, *headers), code)


def unknown(request_id: str) -> Answer:
    """The one answer to everything that is not ours to explain."""
    return plain_refusal(500, "internal_error", f"Something failed on our side; its id in our log is {request_id}.")
