"""One request with its retries, without I/O: a generator says what to do next, and a client does it.

Invariants
- Every request of this client may be repeated: tokens are not stored, revocations carry an idempotency key, and the
  others have the same effect twice as once. What is not, such as a rotation of keys, does not belong here.
- A client waits at least for `Retry-After`, plus a random time, so that clients do not return together. It does not
  wait at all if the deadline would have passed by then: the error says when to try again.
- Whether a code is worth a retry is in `problem_codes.py`, which is generated from the service's own table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from tokensvc.client.errors import (
    FieldError,
    InvalidResponseError,
    NoResponseError,
    ProblemError,
    TokensError,
    error_class,
)
from tokensvc.client.problem_codes import RETRIES, ProblemCode, Retry
from tokensvc.client.wire import parse

_T = TypeVar("_T")
_RETRIED_STATUSES = frozenset({408, 429, 502, 503, 504})
"""Of responses without a code that this version knows. With 500, one retry."""
_DETAIL_MAX_CHARS = 2000


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and for how long, a request is repeated."""

    max_attempts: int = 3
    deadline_seconds: float = 20
    """How long a request may take with all attempts and the waiting between them."""
    backoff_seconds: float = 0.5
    """The longest random wait before the second attempt; it doubles with each attempt."""
    max_backoff_seconds: float = 8

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts must be at least 1")
        for name in ("deadline_seconds", "backoff_seconds", "max_backoff_seconds"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name} must be a number of seconds, at least 0")
        if not self.deadline_seconds:
            raise ValueError("deadline_seconds must be more than 0")


class Request(NamedTuple):
    """A request. `target` is path and query, relative to the base URL."""

    method: str
    target: str
    timeout_seconds: float
    """For one attempt."""
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Request({self.method} {self.target.partition('?')[0]})"


class Response(NamedTuple):
    """A response whose body has been read. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Response({self.status})"


class Send(NamedTuple):
    """Send the request; the result is the response, or a NoResponseError or InvalidResponseError."""

    request: Request
    timeout_seconds: float
    """For the attempt, once there is a connection for it."""
    wait_seconds: float
    """For the attempt, and for waiting until one of the client's connections is free."""


class Sleep(NamedTuple):
    """Wait."""

    seconds: float


_Sent: TypeAlias = Response | NoResponseError | InvalidResponseError
Result: TypeAlias = _Sent | None
"""What a client sends back: the result of Send; None after Sleep."""
Steps: TypeAlias = Generator[Send | Sleep, Result, _T]


@dataclass(frozen=True)
class Environment:
    """What an exchange depends on: the retry policy, clocks and randomness."""

    policy: RetryPolicy
    monotonic: Callable[[], float]
    now: Callable[[], datetime]
    uniform: Callable[[float, float], float]


def exchange(request: Request, environment: Environment) -> Steps[Response]:
    """The successful response to a request. Raises TokensError."""
    deadline = environment.monotonic() + environment.policy.deadline_seconds
    for attempt in count(1):
        left = max(deadline - environment.monotonic(), 0.001)
        result = cast("_Sent", (yield Send(request, min(request.timeout_seconds, left), left)))
        if isinstance(result, Response) and 200 <= result.status < 300:
            return result
        error = problem_of(result, environment.now()) if isinstance(result, Response) else result
        error.attempts = attempt
        wait = wait_before_retry(error, attempt, environment)
        if wait is None or environment.monotonic() + wait >= deadline:
            raise error
        yield Sleep(wait)
    raise AssertionError  # count() does not end


def wait_before_retry(error: TokensError, attempt: int, environment: Environment) -> float | None:
    """How many seconds to wait before the next attempt; None if there is to be none."""
    if attempt >= environment.policy.max_attempts or not _is_retried(error, attempt):
        return None
    jitter = environment.uniform(
        0, min(environment.policy.max_backoff_seconds, environment.policy.backoff_seconds * 2 ** (attempt - 1))
    )
    retry_after = error.retry_after_seconds if isinstance(error, ProblemError) else None
    return (retry_after or 0) + jitter


def _is_retried(error: TokensError, attempt: int) -> bool:
    """Whether another attempt can help."""
    if not isinstance(error, ProblemError):
        return isinstance(error, NoResponseError)
    if not isinstance(error.code, ProblemCode):
        return error.status in _RETRIED_STATUSES or (error.status == 500 and attempt == 1)
    advice = RETRIES[error.code]
    return advice is not Retry.NO and (advice is not Retry.ONCE or attempt == 1)


def problem_of(response: Response, now: datetime) -> ProblemError | InvalidResponseError:
    """The error of an unsuccessful response."""
    if response.status < 400:
        return InvalidResponseError(
            f"the response has status {response.status}, and redirects are not followed: base_url must be the address "
            "of tokensvc itself"
        )
    try:
        problem = parse(response.body)
    except InvalidResponseError:
        problem = None
    retry_after = retry_after_seconds(response.headers, now)
    request_id = response.headers.get("x-request-id")
    if isinstance(problem, dict) and isinstance(problem.get("code"), str):
        return problem_error(problem, response.status, retry_after, request_id)
    detail = "the response has no problem details; a proxy in front of tokensvc may have sent it"
    return error_class(response.status)(
        response.status, "", detail, retry_after_seconds=retry_after, request_id=request_id
    )


def problem_error(
    problem: Mapping[str, Any], status: int = 0, retry_after: float | None = None, request_id: str | None = None
) -> ProblemError:
    """The error that problem details describe; of an item of a batch, which has its own status."""
    own = problem.get("status")
    status = status or (own if type(own) is int and 400 <= own <= 599 else 500)
    seconds = problem.get("retryAfterSeconds")
    if retry_after is None and type(seconds) is int and seconds >= 0:
        retry_after = seconds
    return error_class(status)(
        status,
        str(problem.get("code", "")),
        str(problem.get("detail", ""))[:_DETAIL_MAX_CHARS],
        errors=_field_errors(problem.get("errors")),
        retry_after_seconds=retry_after,
        request_id=request_id,
    )


def _field_errors(errors: object) -> tuple[FieldError, ...]:
    listed = errors if isinstance(errors, list) else []
    return tuple(
        FieldError(str(each.get("field", "")), str(each.get("message", "")))
        for each in listed
        if isinstance(each, dict)
    )


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """`Retry-After` (RFC 9110, section 10.2.3): seconds, or a date, which counts from the header `Date`. What is
    neither is ignored."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) < 16 else math.inf
    at = http_date(text)
    return None if at is None else max(0.0, (at - (http_date(headers.get("date", "")) or now)).total_seconds())


def http_date(text: str) -> datetime | None:
    """A date in a header; None if it is not one."""
    try:
        at = parsedate_to_datetime(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at
    except (ValueError, TypeError, OverflowError):
        return None
