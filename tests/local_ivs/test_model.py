"""The interpreter of AWS service models."""

from __future__ import annotations

import pytest

from tests.local_ivs.environment import OPERATIONS
from tokensvc.local_ivs.errors import IvsError, Violation, invalid
from tokensvc.local_ivs.model import ApiModel, render_error

ARN = "arn:aws:ivs:us-west-2:000000000000:channel/abcdABCDefgh"


@pytest.mark.parametrize(
    "piece", ["arn%3Aaws%3Aivs%3Aus-west-2%3A000000000000%3Achannel%2FabcdABCDefgh", ARN, ARN.replace("/", "%2f")]
)
def test_an_arn_in_a_path_may_be_encoded_or_not(model: ApiModel, piece: str) -> None:
    match = model.route("GET", f"/tags/{piece}".encode())
    assert match is not None
    assert match.operation.name == "ListTagsForResource"
    assert model.parse_request(match, b"", b"") == {"resourceArn": ARN}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", b"/GetChannel"),
        ("POST", b"/GetChannel/"),
        ("POST", b"/getchannel"),
        ("POST", b"/"),
        ("POST", b""),
        ("PUT", b"/tags/x"),
        ("GET", b"/tags/"),
        ("POST", b"//GetChannel"),
        ("POST", b"/GetChannel\n"),
    ],
)
def test_other_paths_and_methods_match_no_operation(model: ApiModel, method: str, path: bytes) -> None:
    assert model.route(method, path) is None


def test_every_operation_is_routed(model: ApiModel) -> None:
    for name in OPERATIONS:
        operation = model.operations[name]
        match = model.route(operation.method, operation.path.replace("{resourceArn}", "x").encode())
        assert match is not None
        assert match.operation is operation


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"{", b"null", b'"x"', b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 99999]
)
def test_a_body_that_is_not_an_object_is_a_validation_error(model: ApiModel, body: bytes) -> None:
    match = model.route("POST", b"/GetChannel")
    assert match is not None
    with pytest.raises(IvsError, match="ValidationException: The request body"):
        model.parse_request(match, b"", body)


def test_path_and_query_members_are_not_read_from_the_body(model: ApiModel) -> None:
    match = model.route("DELETE", b"/tags/a%2Fb")
    assert match is not None
    body = b'{"resourceArn": "forged", "tagKeys": ["forged"]}'
    query = b"tagKeys=a%2Bb+c&other=1&tagKeys=d%20e&tagKeys="
    assert model.parse_request(match, query, body) == {"resourceArn": "a/b", "tagKeys": ["a+b c", "d e", ""]}
    assert model.parse_request(match, b"", body)["tagKeys"] is None


@pytest.mark.parametrize(("path", "query"), [(b"/tags/%ff", b"tagKeys=a"), (b"/tags/a", b"tagKeys=%ff")])
def test_invalid_utf8_is_a_validation_error(model: ApiModel, path: bytes, query: bytes) -> None:
    match = model.route("DELETE", path)
    assert match is not None
    with pytest.raises(IvsError, match="ValidationException"):
        model.parse_request(match, query, b"")


def test_statuses_come_from_the_model(model: ApiModel) -> None:
    assert model.error_status["ServiceQuotaExceededException"] == 402
    assert model.error_status["ThrottlingException"] == 429
    assert model.operations["DeleteChannel"].status == 204
    assert model.operations["DeletePlaybackKeyPair"].status == 200


def test_an_error_is_rendered_in_every_form_that_sdks_read() -> None:
    rendered = render_error(IvsError("ConflictException", "the reason"))
    assert rendered.headers == {"x-amzn-errortype": "ConflictException"}
    assert rendered.body == {"exceptionMessage": "the reason", "message": "the reason"}


def test_all_violations_are_counted_and_a_limited_number_is_listed() -> None:
    one = invalid([Violation("a", "Member must not be null")])
    assert (
        one.message == "1 validation error detected: Value at 'a' failed to satisfy constraint: Member must not be null"
    )
    many = invalid([Violation(f"a{n}", "Member must not be null") for n in range(1000)])
    assert many.message.startswith("1000 validation errors detected: ")
    assert many.message.count("failed to satisfy") == 50


def test_a_model_with_an_unsupported_location_is_rejected() -> None:
    member = {"shape": "S", "location": "header", "locationName": "x"}
    operation = {"http": {"method": "POST", "requestUri": "/A"}, "input": {"shape": "I"}}
    shapes = {"S": {"type": "string"}, "I": {"type": "structure", "members": {"m": member}}}
    with pytest.raises(ValueError, match="unsupported location"):
        ApiModel({"shapes": shapes, "operations": {"A": operation}})
