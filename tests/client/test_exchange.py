"""Retries of the client: what is repeated, after how long, and when it ends. Without I/O, by a manual clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.client.errors import (
    InvalidResponseError,
    NoResponseError,
    NotFoundError,
    ProblemError,
    RateLimitedError,
    ServerError,
    UnauthenticatedError,
    UnavailableError,
    error_class,
)
from tokensvc.client.exchange import (
    Environment,
    Request,
    Response,
    RetryPolicy,
    Send,
    Sleep,
    Steps,
    exchange,
    retry_after_seconds,
)
from tokensvc.client.problem_codes import RETRIES, ProblemCode, Retry
from tokensvc.http.error_codes import ERROR_CODES

NOW = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
REQUEST = Request("POST", "/v1/tokens", 3.0, b"{}")
OK = Response(201, {}, b"{}")


def _problem(code: str, retry_after: int | str | None = None, status: int = 0) -> Response:
    status = status or ERROR_CODES[code].status
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Response(
        status, headers, b'{"status": %d, "code": "%s", "detail": "What happened"}' % (status, code.encode())
    )


@dataclass
class _Machine:
    """Runs an exchange by a manual clock. An attempt takes `attempt_seconds`, and chance is what the test says."""

    replies: list[Response | NoResponseError | InvalidResponseError]
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    attempt_seconds: float = 0.1
    chance: float = 1.0
    time: float = 1000.0
    sends: list[Send] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)

    def run(self) -> Response:
        environment = Environment(
            self.policy, lambda: self.time, lambda: NOW, lambda low, high: low + (high - low) * self.chance
        )
        steps: Steps[Response] = exchange(REQUEST, environment)
        result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as finished:
                value: Response = finished.value
                return value
            if isinstance(step, Sleep):
                self.sleeps.append(step.seconds)
                self.time += step.seconds
                result = None
            else:
                self.sends.append(step)
                self.time += min(self.attempt_seconds, step.timeout_seconds)
                result = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def test_a_successful_response_is_returned_without_waiting() -> None:
    machine = _Machine([OK])
    assert machine.run() is OK
    assert (len(machine.sends), machine.sleeps) == (1, [])


@pytest.mark.parametrize("code", ERROR_CODES)
def test_each_code_is_retried_as_the_table_of_the_service_says(code: str) -> None:
    advice = ERROR_CODES[code].retry
    machine = _Machine([_problem(code)])
    with pytest.raises(error_class(ERROR_CODES[code].status)) as raised:
        machine.run()
    attempts = {Retry.NO: 1, Retry.ONCE: 2}.get(Retry(advice.value), 3)
    assert len(machine.sends) == raised.value.attempts == attempts
    assert raised.value.code is ProblemCode(code)


def test_the_client_knows_every_code_of_the_service() -> None:
    assert {str(code): str(retry) for code, retry in RETRIES.items()} == {
        code: str(entry.retry) for code, entry in ERROR_CODES.items()
    }


@pytest.mark.parametrize(
    ("status", "attempts", "kind"),
    [
        (400, 1, ProblemError),
        (401, 1, UnauthenticatedError),
        (404, 1, NotFoundError),
        (408, 3, ServerError),
        (418, 1, ProblemError),
        (429, 3, RateLimitedError),
        (500, 2, ServerError),
        (502, 3, UnavailableError),
        (503, 3, UnavailableError),
        (504, 3, UnavailableError),
        (599, 1, ServerError),
    ],
)
@pytest.mark.parametrize("code", ["", "a_code_of_a_later_release"])
def test_an_unknown_code_is_treated_by_its_status(
    status: int, attempts: int, kind: type[ProblemError], code: str
) -> None:
    reply = _problem(code, status=status) if code else Response(status, {}, b"<html>Bad gateway</html>")
    machine = _Machine([reply])
    with pytest.raises(kind) as raised:
        machine.run()
    assert (raised.value.status, raised.value.code, raised.value.attempts) == (status, code, attempts)


def test_what_may_have_been_lost_is_sent_again() -> None:
    machine = _Machine([NoResponseError("reset"), NoResponseError("reset"), OK])
    assert machine.run() is OK
    assert len(machine.sends) == 3


def test_a_response_of_another_service_is_not_repeated() -> None:
    machine = _Machine([Response(302, {"location": "https://login.example.com"}, b"")])
    with pytest.raises(InvalidResponseError, match="base_url must be the address") as raised:
        machine.run()
    assert "login.example.com" not in str(raised.value)
    assert len(machine.sends) == 1


def test_waits_are_random_up_to_a_limit_that_doubles() -> None:
    policy = RetryPolicy(max_attempts=6, backoff_seconds=0.5, max_backoff_seconds=3, deadline_seconds=100)
    longest = _Machine([NoResponseError("reset")], policy)
    with pytest.raises(NoResponseError):
        longest.run()
    assert longest.sleeps == [0.5, 1, 2, 3, 3]
    shortest = _Machine([NoResponseError("reset")], policy, chance=0)
    with pytest.raises(NoResponseError):
        shortest.run()
    assert shortest.sleeps == [0, 0, 0, 0, 0]


def test_a_wait_is_never_shorter_than_retry_after_and_never_the_same_for_all_clients() -> None:
    machine = _Machine([_problem("rate_limited", 2), OK], chance=0.5)
    machine.run()
    assert machine.sleeps == [2.25]


@pytest.mark.parametrize("retry_after", [20, 315_360_000, "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_error_is_raised_immediately_if_the_deadline_is_before_retry_after(retry_after: int | str) -> None:
    machine = _Machine([_problem("rate_limited", retry_after)])
    with pytest.raises(RateLimitedError) as raised:
        machine.run()
    assert (machine.sleeps, len(machine.sends)) == ([], 1)
    assert raised.value.retry_after_seconds is not None
    assert raised.value.retry_after_seconds >= 20


@pytest.mark.parametrize("retry_after", ["-1", "NaN", "inf", "1e9", "1.5", "soon", "", "٣", "0x10", "Thu, 99 Foo 2026"])
def test_a_retry_after_that_is_neither_seconds_nor_a_date_is_ignored(retry_after: str) -> None:
    machine = _Machine([_problem("rate_limited", retry_after), OK])
    machine.run()
    assert machine.sleeps == [0.5]


def test_a_date_in_retry_after_counts_from_the_date_of_the_response_whatever_this_machines_clock_says() -> None:
    servers_now = NOW + timedelta(days=400)
    headers = {
        "date": format_datetime(servers_now, usegmt=True),
        "retry-after": format_datetime(servers_now + timedelta(seconds=7), usegmt=True),
    }
    assert retry_after_seconds(headers, NOW) == 7
    assert retry_after_seconds({"retry-after": format_datetime(NOW + timedelta(seconds=5), usegmt=True)}, NOW) == 5
    assert retry_after_seconds({"retry-after": format_datetime(NOW - timedelta(days=5), usegmt=True)}, NOW) == 0


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_retry_after_is_none_or_a_time_that_is_not_negative(text: str) -> None:
    found = retry_after_seconds({"retry-after": text}, NOW)
    assert found is None or (found >= 0 and not math.isnan(found))


def test_the_body_says_when_to_retry_if_no_header_does() -> None:
    body = b'{"status": 429, "code": "rate_limited", "detail": "x", "retryAfterSeconds": 3}'
    machine = _Machine([Response(429, {}, body), OK], chance=0)
    machine.run()
    assert machine.sleeps == [3]


def test_the_deadline_bounds_all_attempts_and_waits_together() -> None:
    policy = RetryPolicy(max_attempts=100, deadline_seconds=10, backoff_seconds=1)
    machine = _Machine([NoResponseError("timed out")], policy, attempt_seconds=3)
    with pytest.raises(NoResponseError):
        machine.run()
    assert machine.time <= 1010
    assert machine.sends[-1].timeout_seconds < 3, "the last attempt has what is left"


def test_no_attempt_takes_longer_than_its_operation_allows() -> None:
    machine = _Machine([OK], RetryPolicy(deadline_seconds=100))
    machine.run()
    assert machine.sends[0].timeout_seconds == 3.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(max_attempts=0),
        lambda: RetryPolicy(deadline_seconds=0),
        lambda: RetryPolicy(deadline_seconds=math.nan),
        lambda: RetryPolicy(deadline_seconds=math.inf),
        lambda: RetryPolicy(backoff_seconds=-1),
        lambda: RetryPolicy(max_backoff_seconds=math.inf),
    ],
)
def test_a_policy_that_makes_no_sense_is_rejected_with_the_name_of_the_field(make: Callable[[], RetryPolicy]) -> None:
    with pytest.raises(ValueError, match=r"^(max_attempts|deadline_seconds|backoff_seconds|max_backoff_seconds) must"):
        make()


def test_a_problem_shows_status_code_detail_and_the_id_of_the_request() -> None:
    errors = b'[{"field": "ttlSeconds", "message": "m"}]'
    body = b'{"code": "invalid_request", "detail": "ttlSeconds: too long", "errors": %s}' % errors
    with pytest.raises(ProblemError) as raised:
        _Machine([Response(422, {"x-request-id": "9c41"}, body)]).run()
    assert str(raised.value) == "422 invalid_request: ttlSeconds: too long (request 9c41)"
    assert raised.value.errors == (("ttlSeconds", "m"),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b'{"code": 7}',
        b'{"code": null}',
        b"\xff",
        b'{"code": "x", "errors": 7}',
        b'{"code":"x"' + b"[" * 10**5,
    ],
)
def test_problem_details_of_any_form_are_an_error_of_their_status(body: bytes) -> None:
    with pytest.raises(UnauthenticatedError):
        _Machine([Response(401, {}, body)]).run()
