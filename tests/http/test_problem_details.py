"""Every error is rendered as RFC 9457 problem details."""

from __future__ import annotations

import json

import pytest

from tests.test_errors import CLASSES
from tokensvc import errors
from tokensvc.errors import FieldError, InvalidRequest, SnapshotStale, TokensvcError, Unauthenticated
from tokensvc.http.problem_details import error_response, internal_error, problem_details, status_of
from tokensvc.storage.store import open_store


def example(kind: type[TokensvcError]) -> TokensvcError:
    if issubclass(kind, errors.MalformedRequest):
        return kind("the body is not JSON")
    if issubclass(kind, InvalidRequest | errors.SettingsError):
        return kind([FieldError("ttlSeconds", "must be an integer")])
    if issubclass(kind, errors.ControlPlaneError):
        return kind("IVS rejected it", operation="x", ivs_code="y", detail="inside")
    if issubclass(kind, errors.RateLimited):
        return kind("it did not work", limit="viewer", policy='"viewer";q=60;w=60', retry_after_seconds=12)
    return kind("it did not work", detail="inside")


KINDS = [kind for kind in CLASSES if kind is not TokensvcError]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_error_is_rendered_as_problem_details(kind: type[TokensvcError]) -> None:
    error = example(kind)
    response = error_response(error)
    body = json.loads(response.body)
    assert response.status == status_of(error) == body["status"]
    assert 400 <= response.status <= 503
    assert response.code == body["code"] == kind.code
    assert body["type"] == f"urn:tokensvc:problem:{kind.code}"
    assert body["title"]
    assert body["detail"] == error.message
    assert (b"content-type", b"application/problem+json") in response.headers
    assert "inside" not in response.body.decode(), "the internal detail is only logged"


def test_every_bad_field_is_listed() -> None:
    error = InvalidRequest([FieldError("a", "is required"), FieldError("b[0]", "must be x")])
    assert problem_details(error)["errors"] == [
        {"field": "a", "message": "is required"},
        {"field": "b[0]", "message": "must be x"},
    ]


def test_malformed_json_is_400_and_an_invalid_field_422() -> None:
    assert error_response(errors.MalformedRequest("x")).status == 400
    assert "errors" not in problem_details(errors.MalformedRequest("x"))
    assert error_response(InvalidRequest([FieldError("a", "x")])).status == 422


def _required(scope: str, *, credentials_sent: bool = False) -> Unauthenticated:
    error = Unauthenticated("x", credentials_sent=credentials_sent)
    error.required_scope = scope
    return error


@pytest.mark.parametrize(
    ("error", "challenge"),
    [
        pytest.param(Unauthenticated("x"), b"", id="no credentials"),
        pytest.param(Unauthenticated("x", credentials_sent=True), b', error="invalid_token"', id="invalid credentials"),
        pytest.param(_required("tokens:issue"), b', scope="tokens:issue"', id="no credentials, known scope"),
        pytest.param(
            _required("tokens:issue", credentials_sent=True),
            b', error="invalid_token", scope="tokens:issue"',
            id="invalid credentials, known scope",
        ),
        pytest.param(
            errors.InsufficientScope("x", subject={"scope": "keys:read"}),
            b', error="insufficient_scope", scope="keys:read"',
            id="insufficient scope",
        ),
    ],
)
def test_a_response_to_a_caller_without_authorization_has_a_challenge(error: TokensvcError, challenge: bytes) -> None:
    """RFC 6750, section 3.1: a request without credentials gets no error code."""
    assert (b"www-authenticate", b'Bearer realm="tokensvc"' + challenge) in error_response(error).headers


def test_a_temporary_error_has_retry_after() -> None:
    assert (b"retry-after", b"1") in error_response(SnapshotStale("x")).headers
    assert not [name for name, _ in error_response(Unauthenticated("x")).headers if name == b"retry-after"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_429_and_503_carries_retry_after_and_nothing_else_does(kind: type[TokensvcError]) -> None:
    response = error_response(example(kind))
    retry_after = [value.decode() for name, value in response.headers if name == b"retry-after"]
    if response.status in (429, 503):
        (seconds,) = retry_after
        assert 1 <= int(seconds) <= 60
        assert json.loads(response.body)["retryAfterSeconds"] == int(seconds), "a batch result has no header"
    else:
        assert retry_after == []


def test_only_a_429_names_its_limit() -> None:
    """The headers of draft-ietf-httpapi-ratelimit-headers: the quota of the window, and what remains of it."""
    headers = dict(error_response(example(errors.RateLimited)).headers)
    assert headers[b"ratelimit-policy"] == b'"viewer";q=60;w=60'
    assert headers[b"ratelimit"] == b'"viewer";r=0;t=12'
    others = [error_response(example(kind)).headers for kind in KINDS if kind is not errors.RateLimited]
    assert not [name for headers_ in others for name, _ in headers_ if name.startswith(b"ratelimit")]


def test_a_timed_out_request_closes_its_connection() -> None:
    """The rest of its body would otherwise be taken for the next request."""
    assert (b"connection", b"close") in error_response(errors.RequestTimeout("late")).headers


def test_an_internal_error_has_a_fixed_text_with_the_request_id() -> None:
    response = internal_error("abc-1")
    assert response.status == 500
    assert json.loads(response.body)["code"] == "internal_error"
    assert "abc-1" in json.loads(response.body)["detail"]


def test_a_response_never_contains_the_store_url_or_the_driver_message() -> None:
    with pytest.raises(errors.StoreUnavailable) as failed:
        open_store("postgresql://app:hunter2@127.0.0.1:1/tokens", timeout_seconds=0.5)
    response = error_response(failed.value)
    assert json.loads(response.body)["detail"] == "the store cannot be reached"
    sent = response.body.decode() + str(response.headers)
    assert not [
        word for word in ("127.0.0.1", "app", "refused", "hunter2", "URL") if word in sent.replace("application", "")
    ]
