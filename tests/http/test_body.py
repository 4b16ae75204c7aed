"""A body is one uncompressed JSON object without duplicate names; every other body is rejected with the reason."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.support.asgi_client import make_receive, scope_of
from tokensvc.errors import InvalidRequest, MalformedRequest, UnsupportedMediaType
from tokensvc.http.body import decode_json, read_json
from tokensvc.http.problem_details import error_response


def read(body: bytes, **headers: str) -> Any:
    return asyncio.run(read_json(scope_of(**headers), make_receive(body), 10_000))


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "x-unknown", "identity, gzip"])
@pytest.mark.parametrize("body", [gzip.compress(b"{}"), b"{}"], ids=["compressed", "not compressed"])
def test_a_body_with_a_content_coding_is_rejected_before_it_is_read(coding: str, body: bytes) -> None:
    async def receive() -> Any:
        pytest.fail("the body was read")

    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        asyncio.run(read_json(scope_of(content_encoding=coding), receive, 10_000))
    assert coding not in error_response(UnsupportedMediaType("x")).body.decode()


@pytest.mark.parametrize("coding", ["identity", "Identity", " identity ", ""])
def test_the_identity_coding_is_accepted(coding: str) -> None:
    assert read(b'{"a":1}', content_encoding=coding) == {"a": 1}


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain"],
)
def test_json_is_parsed_whatever_its_content_type(media_type: str) -> None:
    assert read(b'{"a":1}', content_type=media_type) == {"a": 1}
    assert read(b'{"a":1}') == {"a": 1}


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "text/xml", "application/jsonl", "nonsense"])
@pytest.mark.parametrize("body", [b"--x\r\n", b"[]", b"\xff"])
def test_a_body_that_is_not_json_with_another_type_is_an_unsupported_media_type(media_type: str, body: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Type"):
        read(body, content_type=media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON ;x=y",
        "application/vnd.a+json",
        "application/x-www-form-urlencoded",
    ],
)
def test_broken_json_of_a_json_type_is_reported_with_its_position(media_type: str | None) -> None:
    headers = {} if media_type is None else {"content_type": media_type}
    with pytest.raises(MalformedRequest, match="at character"):
        read(b'{"a":1', **headers)


def test_the_response_to_an_unsupported_media_type_names_the_supported_ones() -> None:
    response = error_response(UnsupportedMediaType("x"))
    assert (response.status, response.code) == (415, "unsupported_media_type")
    assert {(b"accept", b"application/json"), (b"accept-encoding", b"identity")} <= set(response.headers)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ('{"viewerId":"a","viewerId":"b"}', ["viewerId"]),
        ('{"viewerId":"a","\\u0076iewerId":"a"}', ["viewerId"]),
        ('{"requests":[{"a":1},{"a":1,"a":1,"b":{"c":[],"c":[]}}]}', ["requests[1].a", "requests[1].b.c"]),
        ('{"ads":{"playerParams":{"a":"x","a":"y"}}}', ["ads.playerParams.a"]),
        (f'{{"{"k" * 50}":1,"{"k" * 50}":1}}', ["(a name of 50 characters)"]),
    ],
)
def test_a_duplicate_name_is_rejected_by_its_path(body: str, fields: list[str]) -> None:
    for parse in (lambda: read(body.encode()), lambda: decode_json(scope_of(), body.encode(), 10_000)):
        with pytest.raises(InvalidRequest) as raised:
            parse()
        assert [(e.field, e.message) for e in raised.value.errors] == [
            (field, "must be given once") for field in fields
        ]
        assert error_response(raised.value).status == 422


@pytest.mark.parametrize("innermost", [b'{"b":1,"b":1}', b'{"b":1,"c":1}', b"[]"])
@pytest.mark.parametrize("depth", [255, 400, 1000])
def test_a_body_that_is_nested_too_deeply_is_rejected(depth: int, innermost: bytes) -> None:
    with pytest.raises(MalformedRequest, match="nested too deeply"):
        read(b'{"a":' * depth + innermost + b"}" * depth)


def test_the_same_name_in_different_objects_is_not_a_duplicate() -> None:
    body = {"requests": [{"a": {"a": "a"}}, {"a": '"a":"a"'}]}
    assert read(json.dumps(body).encode()) == body
