"""Prepared requests: what goes over the wire, and what stays out of sight."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest

from benchmarks.load.plan import RequestRow
from benchmarks.load.request_kinds import KINDS, PREPARED_ASKS, prepare, refused_in, tokens_in
from benchmarks.load.wire import TURNS, Target, requests
from tokensvc.tokens.request import TokenRequest, parse_token_request

TARGET = Target("https://tokens.example.com/base/", "tsk_secret", ("arn:a", "arn:b"))
CHANNEL_ARN = "arn:aws:ivs:us-east-1:123456789012:channel/AbCdEf123456"


def test_a_request_is_whole_http() -> None:
    request = next(requests([RequestRow(kind="token")], TARGET, 1))
    head, _, body = request.data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /base/v1/tokens HTTP/1.1"
    assert "Host: tokens.example.com" in lines
    assert "Authorization: Bearer tsk_secret" in lines
    assert f"Content-Length: {len(body)}" in lines
    assert json.loads(body) == {"channelArn": "arn:a", "viewerId": "viewer-0"}


def test_the_key_is_in_no_representation() -> None:
    assert "secret" not in repr(TARGET) + str(TARGET) + f"{TARGET}"


@pytest.mark.parametrize(("url", "port"), [("https://a", 443), ("http://a", 80), ("http://a:81", 81)])
def test_the_port_is_the_schemes_unless_it_is_said(url: str, port: int) -> None:
    assert Target(url, "", ()).port == port


def test_kinds_are_mixed_by_their_weights() -> None:
    rows = [RequestRow(kind="token", weight=3), RequestRow(kind="revocation", weight=1)]
    sent = Counter(request.kind for request in islice(requests(rows, TARGET, 1), TURNS))
    assert sent["revocation"] == pytest.approx(TURNS / 4, rel=0.1)


def test_channels_take_turns_and_viewers_differ() -> None:
    asks = [ask for made in prepare("batch", 10, ["a", "b"]) for ask in made.asks]
    assert Counter(ask.channel_arn for ask in asks) == {"a": PREPARED_ASKS / 2, "b": PREPARED_ASKS / 2}
    assert len({ask.viewer_id for ask in asks}) == PREPARED_ASKS


def test_those_who_are_revoked_ask_for_no_tokens() -> None:
    asking, revoked = (
        {ask.viewer_id for made in prepare(kind, 1, ["a"]) for ask in made.asks} for kind in KINDS if kind != "batch"
    )
    assert not asking & revoked


def test_the_service_takes_what_is_asked() -> None:
    for made in prepare("batch", 500, [CHANNEL_ARN]):
        for ask in json.loads(made.body)["requests"]:
            assert isinstance(parse_token_request(ask), TokenRequest)


def test_a_batch_tells_how_many_of_its_asks_were_refused() -> None:
    answer = b'{"results":[{"token":"a"},{"problem":{"code":"x"}},{"token":"b"}]}'
    assert refused_in("batch", answer) == 1
    assert tokens_in(answer) == 2
