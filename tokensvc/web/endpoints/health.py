"""Liveness and readiness probes.

Invariants
- Readiness of a process that serves answers one question: can this worker sign now? It signs a probe token with the
  active key of each region and validates it by the playback rules. A problem that all workers share is a warning, never
  a 503; so is a key that this worker cannot decrypt while another key signs in its place.
- The result is cached for a second, so that frequent probes cost one signature a second.
- Readiness of a process that only runs background tasks answers another: does it reach the store?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope

from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.clock import Clock
from tokensvc.diagnostics.problems import problem_sentence, remedy_text
from tokensvc.errors import Action, CannotSign, MaxTtlUnavailable, Remedy, StoreUnavailable, SubjectKeyLost
from tokensvc.http.problem_details import JSON, PROBLEM_JSON, Response, make_problem
from tokensvc.jose.es384 import digest, jws_compact, signing_input
from tokensvc.problems import Problem
from tokensvc.tokens import claims as c
from tokensvc.tokens.keyring import RegionKeys
from tokensvc.tokens.snapshot import Snapshot, require_fresh
from tokensvc.tokens.validation import Outcome, PlaybackAttempt, validate
from tokensvc.web.context import RequestContext

_CACHE_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 1
_STORE_UNAVAILABLE_SECONDS = 5.0
"""The snapshot is refreshed about once a second; when it is this old, the store does not respond."""

_PROBE_CHANNEL = "readiness-probe"


async def livez(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    """`GET /livez`: the process is alive."""
    return Response(200, b'{"status":"alive"}', (JSON,), "ok")


class Readiness:
    """`GET /readyz`."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
        problems: Callable[[], Sequence[Problem]],
        *,
        lease_seconds: float,
    ) -> None:
        self._snapshot = snapshot
        self._problems = problems
        """The problems of the background tasks of all workers."""
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._cached: tuple[float, Response] | None = None
        self._draining = False

    def drain(self) -> None:
        """Report unready from now on: the worker is stopping and still serves the requests that arrive."""
        self._draining = True

    async def readyz(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        """200 when this worker can sign, otherwise 503 with the reason."""
        if self._draining:
            return _unready("draining", "this worker is shutting down")
        snapshot, now, monotonic = self._snapshot(), self._clock.now(), self._clock.monotonic()
        try:
            require_fresh(
                snapshot, now, monotonic, self._lease_seconds
            )  # never cached: it is cheap and has to be current
        except CannotSign as error:
            return _unready(error.code, error.message)
        if self._cached is None or monotonic - self._cached[0] > _CACHE_SECONDS:
            self._cached = (monotonic, self._evaluate(snapshot, now))
        return self._cached[1]

    def _evaluate(self, snapshot: Snapshot, now: float) -> Response:
        if snapshot.max_ttl_seconds < 1:
            return _unready(MaxTtlUnavailable.code, "; ".join(snapshot.damage))
        if not snapshot.subject_key:
            return _unready(SubjectKeyLost.code, "; ".join(snapshot.damage))
        if not snapshot.keyring.region_keys:
            return _unready("no_signing_key", "no key exists yet" + remedy_text(Remedy(Action.GENERATE_KEY)))
        warnings = []
        usable = 0
        for account_region, region_keys in snapshot.keyring.region_keys.items():
            failure = _probe(account_region, region_keys, int(now))
            usable += failure is None
            if problem := failure or region_keys.problem:
                warnings.append(f"{account_region.region}: {problem}")
        if not usable:
            return _unready("no_signing_key", "; ".join(warnings))
        warnings += [*snapshot.damage, *self._store_warnings(snapshot), *map(problem_sentence, self._problems())]
        return _ready(warnings)

    def _store_warnings(self, snapshot: Snapshot) -> list[str]:
        age = self._clock.monotonic() - snapshot.refresh_started_at
        left = self._lease_seconds - age
        warning = f"the store has not responded for {age:.0f} s; this worker stops signing in {left:.0f} s"
        return [warning] if age > _STORE_UNAVAILABLE_SECONDS else []


class BackgroundReadiness:
    """`GET /readyz` of a process that only runs background tasks."""

    def __init__(
        self,
        store_read_at: Callable[[], float | None],
        monotonic: Callable[[], float],
        problems: Callable[[], Sequence[Problem]],
    ) -> None:
        """`store_read_at` is when the store last responded, which it is asked about once a second, by the clock
        `monotonic`; None before the first time."""
        self._store_read_at = store_read_at
        self._monotonic = monotonic
        self._problems = problems

    async def readyz(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        """200 while the store responds, otherwise 503."""
        read_at = self._store_read_at()
        if read_at is None:
            return _unready(StoreUnavailable.code, "the store has not responded since this process started")
        age = self._monotonic() - read_at
        if age > _STORE_UNAVAILABLE_SECONDS:
            return _unready(StoreUnavailable.code, f"the store has not responded for {age:.0f} s")
        return _ready([problem_sentence(problem) for problem in self._problems()])


def _probe(account_region: AccountRegion, region_keys: RegionKeys, now: int) -> str | None:
    """Sign and validate a token for a channel that cannot exist. The reason of a failure, or None."""
    if region_keys.active is None or now > region_keys.active.not_after:
        return region_keys.problem or "no active key"
    channel = Arn(account_region, "channel", _PROBE_CHANNEL)
    signed = signing_input(orjson.dumps({c.CHANNEL_ARN: str(channel), c.EXP: now + 1}))
    token = jws_compact(signed, region_keys.active.prepared.sign(digest(signed)))
    result = validate(PlaybackAttempt(token, now, channel, keys=list(region_keys.verification_keys.values())))
    return None if result.outcome is Outcome.ALLOW else f"the probe token was denied by the rule {result.denied_by}"


def _ready(warnings: Sequence[str]) -> Response:
    body: dict[str, Any] = {"status": "ready", "warnings": warnings}
    return Response(200, orjson.dumps(body), (JSON,), "ok")


def _unready(code: str, detail: str) -> Response:
    problem = make_problem(503, code, detail) | {"retryAfterSeconds": _RETRY_AFTER_SECONDS}
    headers = (PROBLEM_JSON, (b"retry-after", str(_RETRY_AFTER_SECONDS).encode()))
    return Response(503, orjson.dumps(problem), headers, code)
