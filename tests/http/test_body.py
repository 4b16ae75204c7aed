"""A body is one JSON object, as it is, without a name twice; every other one is refused by what is wrong with it."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.support.asgi_client import receiving, scope_of
from tokensvc.errors import InvalidRequest, MalformedRequest, UnsupportedMediaType
from tokensvc.http.body import decode_json, read_json
from tokensvc.http.problem_details import error_response


def read(body: bytes, **headers: str) -> Any:
    return asyncio.run(read_json(scope_of(**headers), receiving(body), 10_000))


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "x-unknown", "identity, gzip"])
@pytest.mark.parametrize("body", [gzip.compress(b"{}"), b"{}"], ids=["coded", "not coded after all"])
def test_a_body_with_a_content_coding_is_refused_before_it_is_read(coding: str, body: bytes) -> None:
    async def receive() -> Any:
        pytest.fail("it was read")

    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        asyncio.run(read_json(scope_of(content_encoding=coding), receive, 10_000))
    assert coding not in error_response(UnsupportedMediaType("x")).body.decode()


@pytest.mark.parametrize("coding", ["identity", "Identity", " identity ", ""])
def test_a_body_without_a_content_coding_may_say_so(coding: str) -> None:
    assert read(b'{"a":1}', content_encoding=coding) == {"a": 1}


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain"],
)
def test_json_is_read_whatever_its_content_type_says(media_type: str) -> None:
    assert read(b'{"a":1}', content_type=media_type) == {"a": 1}
    assert read(b'{"a":1}') == {"a": 1}


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "text/xml", "application/jsonl", "nonsense"])
@pytest.mark.parametrize("body", [b"--x\r\n", b"[]", b"\xff"])
def test_what_is_not_json_and_says_so_is_of_an_unsupported_media_type(media_type: str, body: bytes) -> None:
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
def test_what_was_meant_as_json_is_unreadable_by_what_is_wrong_in_it(media_type: str | None) -> None:
    headers = {} if media_type is None else {"content_type": media_type}
    with pytest.raises(MalformedRequest, match="at character"):
        read(b'{"a":1', **headers)


def test_an_unsupported_media_type_is_answered_with_what_is_supported() -> None:
    answer = error_response(UnsupportedMediaType("x"))
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert {(b"accept", b"application/json"), (b"accept-encoding", b"identity")} <= set(answer.headers)


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
def test_a_name_that_is_given_twice_is_refused_by_name(body: str, fields: list[str]) -> None:
    for refused_by in (lambda: read(body.encode()), lambda: decode_json(scope_of(), body.encode(), 10_000)):
        with pytest.raises(InvalidRequest) as refused:
            refused_by()
        assert [(e.field, e.message) for e in refused.value.errors] == [
            (field, "must be given once") for field in fields
        ]
        assert error_response(refused.value).status == 422


def test_a_name_that_is_given_twice_deep_inside_is_refused_without_its_place() -> None:
    body = b'{"a":' * 1000 + b'{"b":1,"b":1}' + b"}" * 1000
    with pytest.raises(InvalidRequest, match=r"a field of the body|must be given once"):
        read(body)


def test_the_same_name_in_different_objects_is_none_twice() -> None:
    body = {"requests": [{"a": {"a": "a"}}, {"a": '"a":"a"'}]}
    assert read(json.dumps(body).encode()) == body
