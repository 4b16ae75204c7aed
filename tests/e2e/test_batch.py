"""Batches: in order, each item with its own result, without long waits for other callers."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from tests.support.deployment import Deployment, Service
from tests.support.http_client import Client
from tests.support.processes import wait_until

pytestmark = pytest.mark.long

MAX_BATCH_REQUESTS = 500
CALLERS = 8
ROUNDS = 3


def _viewer(result: dict[str, Any]) -> Any:
    return jwt.decode(result["token"], options={"verify_signature": False})["aws:viewer-id"]


def test_500_requests_get_responses_in_order_each_with_its_own_result(caller: Client, channel: Any) -> None:
    valid, prefix = {"channelArn": channel["arn"]}, channel["arn"].rpartition("/")[0]
    invalid: list[tuple[Any, str, list[str]]] = [
        ({"channelArn": "not-an-arn"}, "invalid_request", ["channelArn"]),
        ({**valid, "viewerId": "v" * 41, "exp": 1}, "invalid_request", ["viewerId", "exp"]),
        ({"channelArn": "arn:aws:ivs:eu-west-1:999999999999:channel/elsewhere"}, "invalid_request", ["channelArn"]),
        ("not an object", "invalid_request", ["requests[{n}]"]),
        ({"channelArn": f"{prefix}/unknown"}, "channel_not_found", []),
        ({**valid, "viewerId": "a", "ttlSeconds": 601}, "invalid_request", ["ttlSeconds"]),
    ]
    requests = [
        invalid[n // 2 % len(invalid)][0] if n % 2 else {**valid, "viewerId": f"v{n}"}
        for n in range(MAX_BATCH_REQUESTS)
    ]
    response = caller.request_batch(requests)
    assert response.status == 200
    results = response.json["results"]
    assert len(results) == MAX_BATCH_REQUESTS
    for n, result in enumerate(results):
        if n % 2 == 0:
            assert _viewer(result) == f"v{n}"
            assert result["playbackUrl"] == f"{channel['playbackUrl']}?token={result['token']}"
        else:
            _, code, fields = invalid[n // 2 % len(invalid)]
            assert result.keys() == {"problem"}
            assert result["problem"]["code"] == code
            fields_with_errors = [error["field"] for error in result["problem"].get("errors", [])]
            assert fields_with_errors == [field.format(n=n) for field in fields]
    assert len({result["token"] for result in results[::2]}) == MAX_BATCH_REQUESTS / 2


def test_501_requests_an_empty_list_and_other_types_are_rejected(caller: Client, channel: Any) -> None:
    wrong: tuple[Any, ...] = ([{"channelArn": channel["arn"]}] * 501, [], {}, None)
    for requests in wrong:
        response = caller.request_batch(requests)
        assert response.status == 422
        assert [error["field"] for error in response.json["errors"]] == ["requests"]


def test_a_batch_waits_only_once_for_an_unknown_channel(deployment: Deployment, caller: Client) -> None:
    """This service waits for 5 seconds at most: 50 requests that wait in turn would exceed that."""
    arn = deployment.new_channel()["arn"]
    started_at = time.monotonic()
    response = caller.request_batch([{"channelArn": arn, "viewerId": f"v{n}"} for n in range(50)])
    seconds = time.monotonic() - started_at
    assert all("playbackUrl" in result for result in response.json["results"])
    assert seconds < 5


def test_a_single_token_is_not_delayed_by_batches(service: Service, key: str, caller: Client, channel: Any) -> None:
    requests = [{"channelArn": channel["arn"], "viewerId": f"v{n}"} for n in range(MAX_BATCH_REQUESTS)]
    batch_seconds: list[float] = []

    def request_continuously() -> None:
        with service.client(key) as client:
            for _ in range(ROUNDS):
                started_at = time.monotonic()
                response = client.request_batch(requests)
                batch_seconds.append(time.monotonic() - started_at)
                assert all("token" in result for result in response.json["results"])

    caller.token(channelArn=channel["arn"], viewerId="ada")
    threads = [threading.Thread(target=request_continuously) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    single_seconds = []
    while any(thread.is_alive() for thread in threads):
        started_at = time.monotonic()
        caller.token(channelArn=channel["arn"], viewerId="ada")
        single_seconds.append(time.monotonic() - started_at)
    for thread in threads:
        thread.join()
    assert len(batch_seconds) == CALLERS * ROUNDS, "a batch failed"
    assert len(single_seconds) >= ROUNDS
    assert sorted(single_seconds)[len(single_seconds) // 2] < max(batch_seconds) / 3
    assert wait_until(lambda: caller.get("/readyz").status == 200, "the service is ready")


def test_a_caller_s_batch_is_not_delayed_by_the_many_of_another(
    deployment: Deployment, service: Service, caller: Client, channel: Any
) -> None:
    requests = [{"channelArn": channel["arn"], "viewerId": f"v{n}"} for n in range(MAX_BATCH_REQUESTS)]
    flood_key = deployment.add_caller("--all-channels")
    flood_seconds: list[float] = []

    def timed(client: Client) -> float:
        started_at = time.monotonic()
        assert all("token" in result for result in client.request_batch(requests).json["results"])
        return time.monotonic() - started_at

    def flood() -> None:
        with service.client(flood_key) as client:
            flood_seconds.extend(timed(client) for _ in range(ROUNDS))

    with service.client(flood_key) as client:
        wait_until(lambda: client.request_batch(requests[:1]).status == 200, "the service knows the caller")
    threads = [threading.Thread(target=flood) for _ in range(2 * CALLERS)]
    for thread in threads:
        thread.start()
    seconds = []
    while any(thread.is_alive() for thread in threads):
        seconds.append(timed(caller))
    for thread in threads:
        thread.join()
    assert len(flood_seconds) == 2 * CALLERS * ROUNDS, "a batch failed"
    assert sorted(seconds)[len(seconds) // 2] < max(flood_seconds) / 3


def test_batches_whose_clients_have_gone_hold_up_nobody(
    deployment: Deployment, service: Service, caller: Client, channel: Any
) -> None:
    requests = [{"channelArn": channel["arn"], "viewerId": f"v{n}"} for n in range(MAX_BATCH_REQUESTS)]
    gone_key = deployment.add_caller("--all-channels")
    with service.client(gone_key) as client:
        wait_until(lambda: client.request_batch(requests[:1]).status == 200, "the service knows the caller")
    url, body = urlsplit(service.url), json.dumps({"requests": requests}).encode()
    head = (
        f"POST /v1/tokens/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gone_key}\r\nContent-Length: {len(body)}"
    )
    for _ in range(4 * CALLERS):
        with socket.create_connection((str(url.hostname), url.port or 0), timeout=5) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
    started_at = time.monotonic()
    assert len(caller.request_batch(requests[:1]).json["results"]) == 1
    assert time.monotonic() - started_at < 10
    with service.client(gone_key) as client:
        wait_until(lambda: client.request_batch(requests).status == 200, "its next batch is accepted")
