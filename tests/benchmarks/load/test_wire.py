"""Prepared requests: their bytes, and secrets that must not be shown."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest

from benchmarks.load.plan import RequestRow
from benchmarks.load.request_kinds import KINDS, PREPARED_TOKEN_REQUESTS, prepare, rejected_in, tokens_in
from benchmarks.load.wire import SEQUENCE_LENGTH, Target, requests
from tokensvc.tokens.request import TokenRequest, parse_token_request

TARGET = Target("https://tokens.example.com/base/", "tsk_secret", ("arn:a", "arn:b"))
CHANNEL_ARN = "arn:aws:ivs:us-east-1:123456789012:channel/AbCdEf123456"


def test_a_request_is_complete_http() -> None:
    request = next(requests([RequestRow(kind="token")], TARGET, 1))
    head, _, body = request.data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /base/v1/tokens HTTP/1.1"
    assert "Host: tokens.example.com" in lines
    assert "Authorization: Bearer tsk_secret" in lines
    assert f"Content-Length: {len(body)}" in lines
    assert json.loads(body) == {"channelArn": "arn:a", "viewerId": "viewer-0"}


def test_no_representation_contains_the_api_key() -> None:
    assert "secret" not in repr(TARGET) + str(TARGET) + f"{TARGET}"


@pytest.mark.parametrize(("url", "port"), [("https://a", 443), ("http://a", 80), ("http://a:81", 81)])
def test_the_port_defaults_to_that_of_the_scheme(url: str, port: int) -> None:
    assert Target(url, "", ()).port == port


@pytest.mark.slow
def test_kinds_are_mixed_by_their_weights() -> None:
    rows = [RequestRow(kind="token", weight=3), RequestRow(kind="revocation", weight=1)]
    sent = Counter(request.kind for request in islice(requests(rows, TARGET, 1), SEQUENCE_LENGTH))
    assert sent["revocation"] == pytest.approx(SEQUENCE_LENGTH / 4, rel=0.1)


def test_channels_alternate_and_viewers_differ() -> None:
    token_requests = [
        token_request for prepared in prepare("batch", 10, ["a", "b"]) for token_request in prepared.token_requests
    ]
    assert Counter(token_request.channel_arn for token_request in token_requests) == {
        "a": PREPARED_TOKEN_REQUESTS / 2,
        "b": PREPARED_TOKEN_REQUESTS / 2,
    }
    assert len({token_request.viewer_id for token_request in token_requests}) == PREPARED_TOKEN_REQUESTS


def test_revoked_viewers_request_no_tokens() -> None:
    issued, revoked = (
        {token_request.viewer_id for prepared in prepare(kind, 1, ["a"]) for token_request in prepared.token_requests}
        for kind in KINDS
        if kind != "batch"
    )
    assert not issued & revoked


def test_the_service_accepts_the_prepared_requests() -> None:
    for prepared in prepare("batch", 500, [CHANNEL_ARN]):
        for token_request in json.loads(prepared.body)["requests"]:
            assert isinstance(parse_token_request(token_request), TokenRequest)


def test_rejected_requests_of_a_batch_are_counted() -> None:
    response = b'{"results":[{"token":"a"},{"problem":{"code":"x"}},{"token":"b"}]}'
    assert rejected_in("batch", response) == 1
    assert tokens_in(response) == 2
