"""Batches: in order, each item with its own result, without long waits for other callers."""

from __future__ import annotations

import threading
import time
from typing import Any

import jwt

from tests.support.deployment import Deployment, Service
from tests.support.http_client import Client
from tests.support.processes import wait_until

BATCH_MAX_ASKS = 500
CALLERS = 8
ROUNDS = 3


def _viewer(result: dict[str, Any]) -> Any:
    return jwt.decode(result["token"], options={"verify_signature": False})["aws:viewer-id"]


def test_500_requests_are_answered_in_order_each_with_its_own_result(caller: Client, channel: Any) -> None:
    good, place = {"channelArn": channel["arn"]}, channel["arn"].rpartition("/")[0]
    kinds: list[tuple[Any, str, list[str]]] = [
        ({"channelArn": "not-an-arn"}, "invalid_request", ["channelArn"]),
        ({**good, "viewerId": "v" * 41, "exp": 1}, "invalid_request", ["viewerId", "exp"]),
        ({"channelArn": "arn:aws:ivs:eu-west-1:999999999999:channel/elsewhere"}, "invalid_request", ["channelArn"]),
        ("not an object", "invalid_request", ["requests[{n}]"]),
        ({"channelArn": f"{place}/nobodyknows"}, "channel_not_found", []),
        ({**good, "viewerId": "a", "ttlSeconds": 601}, "invalid_request", ["ttlSeconds"]),
    ]
    asks = [kinds[n // 2 % len(kinds)][0] if n % 2 else {**good, "viewerId": f"v{n}"} for n in range(BATCH_MAX_ASKS)]
    response = caller.request_batch(asks)
    assert response.status == 200
    results = response.json["results"]
    assert len(results) == BATCH_MAX_ASKS
    for n, result in enumerate(results):
        if n % 2 == 0:
            assert _viewer(result) == f"v{n}"
            assert result["playbackUrl"] == f"{channel['playbackUrl']}?token={result['token']}"
        else:
            _, code, fields = kinds[n // 2 % len(kinds)]
            assert result.keys() == {"problem"}
            assert result["problem"]["code"] == code
            named = [error["field"] for error in result["problem"].get("errors", [])]
            assert named == [field.format(n=n) for field in fields]
    assert len({result["token"] for result in results[::2]}) == BATCH_MAX_ASKS / 2


def test_501_requests_an_empty_list_and_other_types_are_rejected(caller: Client, channel: Any) -> None:
    wrong: tuple[Any, ...] = ([{"channelArn": channel["arn"]}] * 501, [], {}, None)
    for asks in wrong:
        response = caller.request_batch(asks)
        assert response.status == 422
        assert [error["field"] for error in response.json["errors"]] == ["requests"]


def test_a_batch_waits_only_once_for_an_unknown_channel(site: Deployment, caller: Client) -> None:
    """The wait of this service is 5 seconds at most: 50 requests that waited one after the other would exceed it."""
    arn = site.new_channel()["arn"]
    began_at = time.monotonic()
    response = caller.request_batch([{"channelArn": arn, "viewerId": f"v{n}"} for n in range(50)])
    seconds = time.monotonic() - began_at
    assert all("playbackUrl" in result for result in response.json["results"])
    assert seconds < 5


def test_a_single_token_is_not_delayed_by_batches(service: Service, key: str, caller: Client, channel: Any) -> None:
    asks = [{"channelArn": channel["arn"], "viewerId": f"v{n}"} for n in range(BATCH_MAX_ASKS)]
    batches: list[float] = []

    def keep_asking() -> None:
        with service.client(key) as client:
            for _ in range(ROUNDS):
                began_at = time.monotonic()
                response = client.request_batch(asks)
                batches.append(time.monotonic() - began_at)
                assert all("token" in result for result in response.json["results"])

    caller.token(channelArn=channel["arn"], viewerId="ada")
    threads = [threading.Thread(target=keep_asking) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    singles = []
    while any(thread.is_alive() for thread in threads):
        began_at = time.monotonic()
        caller.token(channelArn=channel["arn"], viewerId="ada")
        singles.append(time.monotonic() - began_at)
    for thread in threads:
        thread.join()
    assert len(batches) == CALLERS * ROUNDS, "a batch failed"
    assert len(singles) >= ROUNDS
    assert sorted(singles)[len(singles) // 2] < max(batches) / 3
    assert wait_until(lambda: caller.get("/readyz").status == 200, "ready", 2)
