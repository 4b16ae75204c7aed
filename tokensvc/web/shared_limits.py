"""Rate limits that hold exactly over all workers and machines, counted in Redis.

Invariants
- One round trip for a request, and one for all the requests of a batch. A request takes all its limits or nothing.
- Redis's own clock is used, so that the clocks of the machines do not matter; the numbers are those of
  `callers/limits.py`, undivided.
- A key expires when its burst would be whole again, so Redis holds only what is in use. A key begins with the
  deployment's id and has no viewer's or channel's name in it, only a digest.
- A request waits TIMEOUT_SECONDS at most, connecting included; a connection that takes longer is made beside the
  requests. While Redis does not respond, requests are admitted or refused, as the deployment is set.
- The URL, which may contain a password, is never in a message.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tokensvc.callers.limits import AppliedLimit, applied_limits, rate_limited_error
from tokensvc.callers.policy import NO_LIMITS
from tokensvc.errors import LimiterUnavailable
from tokensvc.outages import FailureLog
from tokensvc.web.admission import ADMITTED, AdmissionRequest, Decision

TIMEOUT_SECONDS = 0.02
CONNECT_SECONDS = 1.0
"""How long a new connection may take: TLS and the login are several round trips."""
MAX_CONNECTIONS = 16
MAX_RUNNING = 256
"""Calls that may run at once; beyond, Redis counts as too slow."""
TASK = "shared_limiter"
"""The name of the limiter in the log's lines about outages."""

_UNAVAILABLE = "the shared rate limiter does not respond"

SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local results, argument, key = {}, 1, 1
while argument <= #ARGV do
  local count = tonumber(ARGV[argument])
  argument = argument + 1
  local longest, which, whole = 0, 0, {}
  for i = 1, count do
    local interval = tonumber(ARGV[argument + 2 * i - 2])
    local burst = tonumber(ARGV[argument + 2 * i - 1])
    local at = tonumber(redis.call('GET', KEYS[key + i - 1]) or '0')
    if at < now then at = now end
    if at > now + interval * burst then
      at = now + interval * burst
      redis.call('SET', KEYS[key + i - 1], string.format('%.6f', at), 'PX', math.ceil((at - now) * 1000) + 1)
    end
    at = at + interval
    whole[i] = at
    local wait = at - now - interval * burst
    if wait > math.min(0.000001 * burst, interval / 2) and wait > longest then longest, which = wait, i end
  end
  if which == 0 then
    for i = 1, count do
      redis.call('SET', KEYS[key + i - 1], string.format('%.6f', whole[i]),
                 'PX', math.ceil((whole[i] - now) * 1000) + 1)
    end
  end
  results[#results + 1] = which
  results[#results + 1] = string.format('%.6f', longest)
  argument, key = argument + 2 * count, key + count
end
return results
"""
"""ARGV: for each request the number of its limits, then the interval and the burst of each. Returns, for each request,
0 or the number of the limit that it has to wait for longest, and how long that is in seconds. As `callers/limits.py`,
but for the times: they are stored to the microsecond, and half a microsecond may be lost for each token of a burst."""
_SCRIPT_DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class SharedLimiter:
    """The limits of all callers, shared through one Redis (`admission.Admission`)."""

    def __init__(
        self,
        url: str,
        *,
        deployment_id: str,
        fails_open: bool,
        count_failure: Callable[[str], None],
        failure_log: FailureLog,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`count_failure` gets one of `metrics.ADMISSION_FAILURE_REASONS`. It connects at the first request."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=CONNECT_SECONDS,
            socket_timeout=CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=None,
        )
        self._redis: Any = Redis.from_pool(pool)
        self._prefix = f"tokensvc:{deployment_id}:"
        self._fails_open = fails_open
        self._count_failure = count_failure
        self._failure_log = failure_log
        self._timeout_seconds = timeout_seconds
        self._running: set[asyncio.Task[list[Any]]] = set()

    async def admit(self, requests: Sequence[AdmissionRequest]) -> list[Decision]:
        """One decision for each request: admitted, RateLimited, or LimiterUnavailable."""
        decisions: list[Decision] = [ADMITTED] * len(requests)
        limited: dict[int, list[AppliedLimit]] = {}
        for position, token in enumerate(requests):
            if token.caller.policy.limits is not NO_LIMITS:
                request = token.request
                applied = applied_limits(token.caller, request.channel_arn, request.viewer_id, request.subject)
                if applied:
                    limited[position] = applied
        if not limited:
            return decisions
        try:
            results = await self._evaluate_in_time(list(limited.values()))
        except (RedisError, OSError, TimeoutError) as error:
            self._note_failure(error)
            if not self._fails_open:
                for position in limited:
                    decisions[position] = LimiterUnavailable(f"{_UNAVAILABLE}; retry")
            return decisions
        self._failure_log.record_success(TASK)
        for number, (position, applied) in enumerate(limited.items()):
            which, wait = int(results[2 * number]), float(results[2 * number + 1])
            if which:
                name, rate, _ = applied[which - 1]
                decisions[position] = rate_limited_error(name, rate, wait)
        return decisions

    async def close(self) -> None:
        """Close the connections."""
        if self._running:
            await asyncio.wait(self._running)
        await self._redis.aclose()

    async def _evaluate_in_time(self, requests: list[list[AppliedLimit]]) -> list[Any]:
        """The script's results. Raises TimeoutError, RedisError or OSError. A call that takes longer is not cancelled:
        it ends within CONNECT_SECONDS, and a connection that it made serves the next requests."""
        if len(self._running) >= MAX_RUNNING:
            raise TimeoutError
        task = asyncio.create_task(self._evaluate(requests))
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait([task], timeout=self._timeout_seconds)
        if not task.done():
            raise TimeoutError
        return task.result()

    def _ended(self, task: asyncio.Task[list[Any]]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # has been read, or nobody waits for it any more

    async def _evaluate(self, requests: list[list[AppliedLimit]]) -> list[Any]:
        keys, arguments = list[str](), list[int | float]()
        for applied in requests:
            arguments.append(len(applied))
            for name, rate, key in applied:
                keys.append(self._prefix + _digest(name, key))
                arguments += (60.0 / rate.per_minute, rate.burst)
        try:
            results: list[Any] = await self._redis.evalsha(_SCRIPT_DIGEST, len(keys), *keys, *arguments)
        except NoScriptError:  # a Redis that was restarted, or that sees the script for the first time
            results = await self._redis.eval(SCRIPT, len(keys), *keys, *arguments)
        return results

    def _note_failure(self, error: Exception) -> None:
        reason = _reason_of(error)
        self._count_failure(reason)
        self._failure_log.record_failure(TASK, LimiterUnavailable(_UNAVAILABLE, detail=reason))


def _reason_of(error: Exception) -> str:
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "timeout"
    return "connection" if isinstance(error, OSError | RedisConnectionError) else "invalid_response"


def _digest(name: str, key: tuple[str, ...]) -> str:
    """128 bits of what is counted. The parts are joined by a character that none of them contains."""
    return hashlib.blake2b("\0".join((name, *key)).encode(), digest_size=16).hexdigest()
