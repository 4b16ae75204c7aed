"""`GET /v1/status`: how the deployment does, for people and dashboards.

Rules of the file
- It is read from the store at each asking, and never from IVS: what IVS holds is what whoever performs last saw there.
- Who has not heard: a worker that was heard lately and whose keys are older than the store's. A silent one may be cut
  off, and then signs for the rest of its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from starlette.types import Receive, Scope

from tokensvc.core.arn import Place
from tokensvc.core.instant import rfc3339
from tokensvc.core.lifecycle import KeyInPlace, KeyRecord, active_of
from tokensvc.core.rotation import KEY_PAIRS_MAX
from tokensvc.loops.heartbeat import SILENT_SECONDS
from tokensvc.ports.deployment import Deployment
from tokensvc.ports.leases import Held
from tokensvc.ports.revocation_queue import Waiting
from tokensvc.ports.versions import StoreVersions
from tokensvc.ports.workers import RegionNews, Worker
from tokensvc.web.authorized import Authorized
from tokensvc.web.encoding import NOT_KEPT
from tokensvc.web.exchange import Exchange
from tokensvc.web.failures import Answer, problem_sentence

SCOPE = "keys:read"


class Facts(NamedTuple):
    """What the store says at one moment."""

    versions: StoreVersions
    deployment: Deployment
    keys: Sequence[KeyRecord]
    workers: Sequence[Worker]
    leader: Held | None
    waiting: Mapping[Place, Waiting]
    """Viewers whose revocation IVS has yet to be told."""
    telling: Mapping[Place, Held]
    """Who tells IVS of revocations there."""


class Status:
    """The route, and where it reads."""

    def __init__(self, authorized: Authorized, read: Callable[[], Facts]) -> None:
        self._authorized = authorized
        self._read = read

    async def status(self, scope: Scope, _receive: Receive, exchange: Exchange) -> Answer:
        self._authorized.caller(scope, exchange, SCOPE)
        facts = await self._authorized.in_thread(self._read)
        return Answer(200, orjson.dumps(shown(facts)), NOT_KEPT, "ok")


def shown(facts: Facts) -> dict[str, Any]:
    """The facts as the route answers them."""
    now, leader = facts.versions.now, facts.leader
    present = [w for w in facts.workers if not _is_silent(w, now)]
    held = [there for record in facts.keys for there in record.places if there.is_held]
    news = {said.region: said for worker in present for said in worker.heartbeat.regions}
    return {
        "deploymentId": facts.deployment.id,
        "controlPlane": facts.deployment.control_plane,
        "account": facts.deployment.account,
        "keysVersion": facts.versions.keys.number,
        "trouble": [
            problem_sentence(one) for one in dict.fromkeys(one for w in present for one in w.heartbeat.trouble)
        ],
        "leader": _leader(leader),
        "workers": [_worker(w, facts.versions, leader) for w in facts.workers],
        "notHeard": [w.heartbeat.worker_id for w in facts.workers if not _has_heard(w, facts.versions)],
        "revocations": [
            _dispatch(place, facts.waiting.get(place), facts.telling.get(place))
            for place in sorted(facts.waiting.keys() | facts.telling.keys())
        ],
        "regions": [
            _region(region, [there for there in held if there.place.region == region], news.get(region), now)
            for region in sorted({there.place.region for there in held} | news.keys())
        ],
    }


def _leader(leader: Held | None) -> dict[str, Any] | None:
    return leader and {"workerId": leader.holder, "leaseSecondsLeft": round(leader.seconds_left, 1)}


def _dispatch(place: Place, waiting: Waiting | None, leader: Held | None) -> dict[str, Any]:
    queued, oldest_seconds, _ = waiting or Waiting(0, 0.0)
    return {
        "account": place.account,
        "region": place.region,
        "queued": queued,
        "oldestSeconds": int(oldest_seconds),
        "leader": _leader(leader),
    }


def _worker(worker: Worker, versions: StoreVersions, leader: Held | None) -> dict[str, Any]:
    said = worker.heartbeat
    return {
        "workerId": said.worker_id,
        "host": said.host,
        "pid": said.pid,
        "startedAt": rfc3339(int(worker.started_at.timestamp())),
        "heardAt": rfc3339(int(worker.beat_at.timestamp())),
        "silent": _is_silent(worker, versions.now),
        "leads": leader is not None and leader.holder == said.worker_id,
        "leaseSeconds": said.lease_seconds,
        "keysVersion": said.keys_version,
        "hasHeard": _has_heard(worker, versions),
        "unopenedKeys": list(said.unopened),
        "signer": said.signer or None,
        "whyNotFaster": said.why_not_faster or None,
        "trouble": [problem_sentence(problem) for problem in said.trouble],
    }


def _region(region: str, held: Sequence[KeyInPlace], news: RegionNews | None, now: float) -> dict[str, Any]:
    active = active_of(held)
    since = active.activated_at if active is not None else None
    return {
        "region": region,
        "activeKey": active and active.key_id,
        "activeSeconds": since and max(0, int(now - since.timestamp())),
        "keys": [{"id": there.key_id, "state": there.state.value, "arn": there.arn} for there in held],
        "slots": {"ours": len(held), "foreign": news and news.foreign, "most": KEY_PAIRS_MAX},
        "next": news.next or None if news is not None else None,
        "nextAt": _instant(news.next_at) if news is not None else None,
        "lookedAt": _instant(news.looked_at) if news is not None else None,
    }


def _is_silent(worker: Worker, now: float) -> bool:
    return (datetime.fromtimestamp(now, UTC) - worker.beat_at).total_seconds() > SILENT_SECONDS


def _has_heard(worker: Worker, versions: StoreVersions) -> bool:
    return worker.heartbeat.holds_keys(versions.keys)


def _instant(at: float | None) -> str | None:
    return rfc3339(int(at)) if at is not None else None
