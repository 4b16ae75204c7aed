"""Limits shared through a real Redis: exact over all processes, and what happens without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from structlog.testing import capture_logs

from tests.support.redis_server import PASSWORD, RedisServer, running_redis
from tests.support.tokens import CHANNEL
from tokensvc.callers.policy import Caller, CallerPolicy, Rate, RateLimits
from tokensvc.errors import LimiterUnavailable, RateLimited
from tokensvc.outages import FailureLog
from tokensvc.tokens.request import parse_token_request
from tokensvc.web.admission import ADMITTED, AdmissionRequest, Decision
from tokensvc.web.shared_limits import TIMEOUT_SECONDS, SharedLimiter


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as running:
        yield running


def asked(limits: RateLimits, viewer: str | None = "viewer-secret-name", caller: str = "shop") -> AdmissionRequest:
    policy = CallerPolicy(channels=("*",), limits=limits)
    request = parse_token_request({"channelArn": str(CHANNEL), "viewerId": viewer})
    return AdmissionRequest(Caller(caller, policy), request, 300, "", "r1")


def outcome(decision: Decision) -> str:
    if isinstance(decision, RateLimited):
        return decision.limit
    return "unavailable" if isinstance(decision, LimiterUnavailable) else "admitted"


class Limiters:
    """Limiters of one deployment, as several workers have them."""

    def __init__(self, url: str, *, fails_open: bool = True, deployment_id: str = "d1", timeout: float = 5) -> None:
        self.failures: Counter[str] = Counter()
        self._make = partial(
            SharedLimiter,
            url,
            deployment_id=deployment_id,
            fails_open=fails_open,
            count_failure=self._count_failure,
            failure_log=FailureLog(),
            timeout_seconds=timeout,
        )

    def _count_failure(self, reason: str) -> None:
        self.failures[reason] += 1

    def run(self, use: Callable[..., Coroutine[Any, Any, Any]], count: int = 1) -> Any:
        async def with_limiters() -> Any:
            limiters = [self._make() for _ in range(count)]
            try:
                return await use(*limiters)
            finally:
                for limiter in limiters:
                    await limiter.close()

        return asyncio.run(with_limiters())


def test_two_workers_share_one_limit_exactly(server: RedisServer) -> None:
    async def use(one: SharedLimiter, two: SharedLimiter) -> list[str]:
        token = asked(RateLimits(caller=Rate(1, 7)))
        return [outcome((await limiter.admit([token]))[0]) for _ in range(10) for limiter in (one, two)]

    assert Counter(Limiters(server.url).run(use, 2)) == {"admitted": 7, "caller": 13}


_PROCESS = """
import asyncio, sys
from tests.web.test_shared_limits import Limiters, asked, outcome
from tokensvc.callers.policy import Rate, RateLimits

async def use(limiter):
    token = asked(RateLimits(viewer=Rate(1, 50)))
    await limiter.admit([asked(RateLimits(viewer=Rate(1, 50)), viewer="warm-up")])
    print(sum([outcome((await limiter.admit([token]))[0]) == "admitted" for _ in range(100)]))

limiters = Limiters(sys.argv[1])
limiters.run(use)
assert not limiters.failures, limiters.failures
"""


@pytest.mark.slow
def test_two_processes_share_one_limit_exactly(server: RedisServer) -> None:
    command = [sys.executable, "-c", _PROCESS, server.url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(counts) == 50


def test_each_request_of_a_batch_takes_all_its_limits_or_nothing(server: RedisServer) -> None:
    async def use(limiter: SharedLimiter) -> list[Decision]:
        limits = RateLimits(caller=Rate(1, 3), viewer=Rate(1, 1))
        return await limiter.admit([asked(limits, viewer) for viewer in ("a", "a", "b", "a", "c", "d")])

    decisions = Limiters(server.url).run(use)
    assert [outcome(decision) for decision in decisions] == [
        "admitted",
        "viewer",
        "admitted",
        "viewer",
        "admitted",
        "caller",
    ]
    assert decisions[1].policy == '"viewer";q=1;w=60'
    assert decisions[1].retry_after_seconds in (59, 60)


def test_keys_expire_and_name_no_viewer(server: RedisServer) -> None:
    async def use(limiter: SharedLimiter) -> None:
        await limiter.admit([asked(RateLimits(Rate(1, 5), Rate(1, 5), Rate(1, 5)))])

    Limiters(server.url).run(use)
    client = redis_client.Redis.from_url(server.url)
    keys = [key.decode() for key in client.scan_iter()]
    assert len(keys) == 3
    for key in keys:
        assert key.startswith("tokensvc:d1:")
        assert "viewer-secret-name" not in key
        assert 0 < client.pttl(key) <= 60_001
    client.close()


def test_deployments_share_nothing(server: RedisServer) -> None:
    async def use(limiter: SharedLimiter) -> str:
        return outcome((await limiter.admit([asked(RateLimits(caller=Rate(1, 1)))]))[0])

    assert [Limiters(server.url, deployment_id=name).run(use) for name in ("d1", "d2", "d1")] == [
        "admitted",
        "admitted",
        "caller",
    ]


def test_a_caller_without_limits_asks_nothing() -> None:
    async def use(limiter: SharedLimiter) -> list[Decision]:
        return await limiter.admit([asked(RateLimits())])

    limiters = Limiters("redis://127.0.0.1:1/0", fails_open=False)
    assert limiters.run(use) == [ADMITTED]
    assert not limiters.failures


@pytest.mark.slow
@pytest.mark.parametrize(("fails_open", "expected"), [(True, "admitted"), (False, "unavailable")])
@pytest.mark.parametrize("stop", ["kill", "pause"])
def test_without_redis_requests_are_admitted_or_refused_as_set_and_immediately(
    server: RedisServer, fails_open: bool, expected: str, stop: str
) -> None:
    async def use(limiter: SharedLimiter) -> tuple[list[str], float]:
        token, free = asked(RateLimits(caller=Rate(60, 1000))), asked(RateLimits())
        while outcome((await limiter.admit([token]))[0]) != "admitted" or limiters.failures:  # connecting may be slow
            limiters.failures.clear()
        lines.clear()
        getattr(server, stop)()
        outcomes, seconds = list[str](), list[float]()
        for _ in range(20):
            started = time.perf_counter()
            outcomes += [outcome(decision) for decision in await limiter.admit([token, free])]
            seconds.append(time.perf_counter() - started)
        return outcomes, sorted(seconds)[len(seconds) // 2]  # a busy machine delays some of them

    limiters = Limiters(server.url, fails_open=fails_open, timeout=TIMEOUT_SECONDS)
    with capture_logs() as lines:
        outcomes, typical = limiters.run(use)
    assert outcomes == [expected, "admitted"] * 20, "what has no limit needs no Redis"
    assert typical < TIMEOUT_SECONDS + 0.1
    assert sum(limiters.failures.values()) == 20
    assert set(limiters.failures) <= ({"timeout"} if stop == "pause" else {"connection", "timeout"})
    assert [line["error"] for line in lines if line["log_level"] == "warning"] == [
        f"the shared rate limiter does not respond: {next(iter(limiters.failures))}"
    ], "an outage is logged once"
    assert PASSWORD not in str(lines)


@pytest.mark.parametrize("rate", [Rate(7, 10), Rate(13, 24), Rate(1, 7), Rate(1999, 500), Rate(10_000_000, 50)])
def test_a_batch_of_a_whole_burst_is_admitted_whole_and_no_more(server: RedisServer, rate: Rate) -> None:
    """Times are stored to the microsecond, and the errors of a burst add up."""

    async def use(limiter: SharedLimiter) -> list[Decision]:
        return await limiter.admit([asked(RateLimits(caller=rate))] * (rate.burst + 20))

    outcomes = [outcome(decision) for decision in Limiters(server.url).run(use)]
    assert outcomes == ["admitted"] * rate.burst + ["caller"] * 20


def test_a_shared_rate_that_is_raised_applies_immediately(server: RedisServer) -> None:
    async def use(limiter: SharedLimiter) -> list[Decision]:
        await limiter.admit([asked(RateLimits(caller=Rate(1, 100)))] * 100)
        return await limiter.admit([asked(RateLimits(caller=Rate(6000, 100)))])

    [decision] = Limiters(server.url).run(use)
    assert isinstance(decision, RateLimited)
    assert decision.retry_after_seconds == 1
