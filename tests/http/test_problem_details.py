"""Every failure is rendered in one place, in one form."""

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
        return kind("IVS said no", operation="x", ivs_code="y", detail="inside")
    return kind("it did not work", detail="inside")


KINDS = [kind for kind in CLASSES if kind is not TokensvcError]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_failure_is_rendered_as_problem_details(kind: type[TokensvcError]) -> None:
    failure = example(kind)
    answer = error_response(failure)
    body = json.loads(answer.body)
    assert answer.status == status_of(failure) == body["status"]
    assert 400 <= answer.status <= 503
    assert answer.code == body["code"] == kind.code
    assert body["type"] == f"urn:tokensvc:problem:{kind.code}"
    assert body["title"]
    assert body["detail"] == failure.message
    assert (b"content-type", b"application/problem+json") in answer.headers
    assert "inside" not in answer.body.decode(), "detail goes to the log alone"


def test_bad_fields_are_named_one_by_one() -> None:
    failure = InvalidRequest([FieldError("a", "is required"), FieldError("b[0]", "must be x")])
    assert problem_details(failure)["errors"] == [
        {"field": "a", "message": "is required"},
        {"field": "b[0]", "message": "must be x"},
    ]


def test_unreadable_json_is_400_and_a_broken_rule_422() -> None:
    assert error_response(errors.MalformedRequest("x")).status == 400
    assert "errors" not in problem_details(errors.MalformedRequest("x"))
    assert error_response(InvalidRequest([FieldError("a", "x")])).status == 422


def test_who_is_not_known_is_told_how_to_be() -> None:
    assert (b"www-authenticate", b'Bearer realm="tokensvc"') in error_response(Unauthenticated("x")).headers


def test_what_will_pass_says_when_to_come_back() -> None:
    assert (b"retry-after", b"1") in error_response(SnapshotStale("x")).headers
    assert not [name for name, _ in error_response(Unauthenticated("x")).headers if name == b"retry-after"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_429_and_503_carries_retry_after_and_nothing_else_does(kind: type[TokensvcError]) -> None:
    response = error_response(example(kind))
    retry_after = [value.decode() for name, value in response.headers if name == b"retry-after"]
    if response.status in (429, 503):
        (seconds,) = retry_after
        assert 1 <= int(seconds) <= 60
        assert json.loads(response.body)["retryAfterSeconds"] == int(seconds), "the header is lost in a batch"
    else:
        assert retry_after == []


def test_the_unknown_is_one_fixed_text_with_an_id() -> None:
    answer = internal_error("abc-1")
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "internal_error"
    assert "abc-1" in json.loads(answer.body)["detail"]


def test_callers_do_not_see_where_the_store_is_or_what_its_driver_says() -> None:
    with pytest.raises(errors.StoreUnavailable) as failed:
        open_store("postgresql://app:hunter2@127.0.0.1:1/tokens", timeout_seconds=0.5)
    answer = error_response(failed.value)
    assert json.loads(answer.body)["detail"] == "the store cannot be reached"
    shown = answer.body.decode() + str(answer.headers)
    assert not [
        word for word in ("127.0.0.1", "app", "refused", "hunter2", "URL") if word in shown.replace("application", "")
    ]
