"""Limits in a real Redis, over HTTP: exact over the workers of a service, and its connections end with it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.support.deployment import Deployment
from tests.support.http_client import Client, Response, client_per_worker
from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer, running_redis
from tests.support.servers import serving
from tokensvc.container.application import build_application
from tokensvc.container.service import assemble
from tokensvc.settings import read_settings

pytestmark = pytest.mark.long

BURST = 20


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


def limited_caller(deployment: Deployment, name: str, folder: Path) -> str:
    """The API key of a caller with BURST tokens, and one more a minute."""
    file = folder / "callers.toml"
    limits = f"limits.caller = {{ per_minute = 1, burst = {BURST} }}"
    file.write_text(f'[callers.{name}]\nchannels = ["*"]\n{limits}\n')
    return str(deployment.run("callers", "apply", str(file), "--json").json["apiKeys"][name])


def test_two_workers_issue_exactly_what_the_limit_allows(
    deployment: Deployment, channel: Any, redis: RedisServer, tmp_path: Path
) -> None:
    key = limited_caller(deployment, "shared", tmp_path)
    responses: list[Response] = []
    with (
        deployment.serve(LIMITER_URL=redis.url, LIMITER_FAILS="closed", WORKERS="2") as service,
        client_per_worker(service.url, key, 2) as by_worker,
    ):
        clients = itertools.cycle(by_worker.values())

        def ask() -> Response:
            responses.append(next(clients).request_token(channelArn=channel["arn"], viewerId="ada"))
            return responses[-1]

        wait_until(lambda: ask().status == 429, "the limit is reached")
        for _ in range(2 * BURST):
            ask()
        with service.client(key) as client:
            batch = client.request_batch([{"channelArn": channel["arn"], "viewerId": "ada"}] * 3).json["results"]
    statuses = Counter(response.status for response in responses if response.status != 401)
    assert statuses[201] <= BURST
    assert statuses[201] + statuses[503] >= BURST, "what Redis did not answer in time may have been counted"
    assert set(statuses) <= {201, 429, 503}
    workers = {response.worker for response in responses if response.status == 201}
    assert len(workers) == 2, "one worker alone issued them"
    limited = next(response for response in responses if response.status == 429)
    assert limited.json["code"] == "rate_limited"
    seconds = int(limited.headers["retry-after"])
    assert 0 < seconds <= 60
    assert limited.headers["ratelimit-policy"] == '"caller";q=1;w=60'
    assert limited.headers["ratelimit"] == f'"caller";r=0;t={seconds}'
    assert {result["problem"]["code"] for result in batch} <= {"rate_limited", "limiter_unavailable"}


def test_a_service_closes_its_connections_to_redis_when_it_stops(
    deployment: Deployment, channel: Any, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, so that nothing but the service itself closes them."""
    key = limited_caller(deployment, "closing", tmp_path)
    environ = deployment.environ | {"TOKENSVC_LIMITER_URL": redis.url, "TOKENSVC_BACKGROUND_TASKS": "false"}
    for name, value in environ.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    service = assemble(read_settings(environ))
    with redis_client.Redis.from_url(redis.url) as observer:
        try:
            with serving(build_application(service).asgi) as url:
                with Client(url, key) as client:
                    wait_until(
                        lambda: client.request_token(channelArn=channel["arn"], viewerId="ada").status == 201,
                        "a token is issued",
                    )
                wait_until(lambda: len(observer.client_list()) > 1, "the service is connected")
            wait_until(lambda: len(observer.client_list()) == 1, "only this test is connected")
        finally:
            service.store.close()
