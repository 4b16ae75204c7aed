"""Whether this worker lives, and whether it can sign.

Rules of the file
- Readiness answers one question: can this worker sign now? It signs a probe with the active key of each place and lets
  the playback rules judge it. Trouble that all workers share is a warning, never a 503, and so is a key that this
  worker cannot open while another one signs in its stead.
- The answer is kept for a second: a balancer that asks often costs one signature a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope

from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.clock import Clock
from tokensvc.diagnostics.problems import problem_sentence, remedy_text
from tokensvc.errors import Action, CannotSign, MaxTtlUnavailable, Remedy, SubjectKeyLost
from tokensvc.http.problem_details import JSON, PROBLEM_JSON, Response, make_problem
from tokensvc.jose.es384 import digest, jws_compact, signing_input
from tokensvc.problems import Problem
from tokensvc.tokens import claims as c
from tokensvc.tokens.keyring import RegionKeys
from tokensvc.tokens.snapshot import Snapshot, require_fresh
from tokensvc.tokens.validation import Outcome, PlaybackAttempt, validate
from tokensvc.web.context import RequestContext

_KEPT_SECONDS = 1.0
_STORE_AWAY_SECONDS = 5.0
"""A snapshot is refreshed about once a second; one so old means that the store does not answer."""

_PROBE_CHANNEL = "readiness-probe"


async def livez(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    """`GET /livez`: the process answers."""
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
        self._trouble = problems
        """What the background duties of all workers have to say."""
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._kept: tuple[float, Response] | None = None
        self._draining = False

    def drain(self) -> None:
        """Answer unready from now on: the worker was told to stop and still serves what comes."""
        self._draining = True

    async def readyz(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        """200 when this worker can sign, else 503 and why."""
        if self._draining:
            return _unready("draining", "this worker is stopping")
        snapshot, now, monotonic = self._snapshot(), self._clock.now(), self._clock.monotonic()
        try:
            require_fresh(snapshot, now, monotonic, self._lease_seconds)  # cheap, and never a second late
        except CannotSign as failure:
            return _unready(failure.code, failure.message)
        if self._kept is None or monotonic - self._kept[0] > _KEPT_SECONDS:
            self._kept = (monotonic, self._judge(snapshot, now))
        return self._kept[1]

    def _judge(self, snapshot: Snapshot, now: float) -> Response:
        if snapshot.max_ttl_seconds < 1:
            return _unready(MaxTtlUnavailable.code, "; ".join(snapshot.damage))
        if not snapshot.subject_key:
            return _unready(SubjectKeyLost.code, "; ".join(snapshot.damage))
        if not snapshot.keyring.region_keys:
            return _unready("no_signing_key", "no key yet" + remedy_text(Remedy(Action.GENERATE_KEY)))
        warnings = []
        usable = 0
        for place, slot in snapshot.keyring.region_keys.items():
            trouble = _probe(place, slot, int(now))
            usable += trouble is None
            if told := trouble or slot.problems:
                warnings.append(f"{place.region}: {told}")
        if not usable:
            return _unready("no_signing_key", "; ".join(warnings))
        warnings += [*snapshot.damage, *self._store_away(snapshot), *map(problem_sentence, self._trouble())]
        body: dict[str, Any] = {"status": "ready", "warnings": warnings}
        return Response(200, orjson.dumps(body), (JSON,), "ok")

    def _store_away(self, snapshot: Snapshot) -> list[str]:
        away = self._clock.monotonic() - snapshot.began_at
        left = self._lease_seconds - away
        words = f"the store has not answered for {away:.0f} seconds; this worker signs for {left:.0f} more"
        return [words] if away > _STORE_AWAY_SECONDS else []


def _probe(account_region: AccountRegion, slot: RegionKeys, now: int) -> str | None:
    """Sign a token for a channel that cannot be and let the rules judge it; None when it is admitted."""
    if slot.active is None or now > slot.active.not_after:
        return slot.problems or "no active key"
    channel = Arn(account_region, "channel", _PROBE_CHANNEL)
    signed = signing_input(orjson.dumps({c.CHANNEL_ARN: str(channel), c.EXP: now + 1}))
    token = jws_compact(signed, slot.active.prepared.sign(digest(signed)))
    verdict = validate(PlaybackAttempt(token, now, channel, keys=list(slot.verification_keys.values())))
    return None if verdict.outcome is Outcome.ALLOW else f"the probe was refused by {verdict.denied_by}"


def _unready(code: str, detail: str) -> Response:
    return Response(503, orjson.dumps(make_problem(503, code, detail)), (PROBLEM_JSON, (b"retry-after", b"1")), code)
