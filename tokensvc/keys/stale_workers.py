"""Which workers may not know yet what the keys are by now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Worker
from tokensvc.keys.rotation_policy import max_staleness_seconds


class StaleWorker(NamedTuple):
    """A worker whose last heartbeat told of older keys."""

    worker: Worker
    until: datetime
    """By then it has heard, or its snapshot's lease has ended and it signs nothing."""


def find_stale_workers(workers: Sequence[Worker], keys: Version, now: datetime) -> list[StaleWorker]:
    """Those whose last heartbeat names another version of the keys than this, and that may still sign with it: an older
    one, or one of a history that a restore of the store undid. One that was silent for all its lease does no longer,
    and one without a lease never did. Read the workers before the version."""
    behind = [w for w in workers if not w.heartbeat.has_keys_version(keys) and w.heartbeat.lease_seconds > 0]
    return [u for u in (StaleWorker(worker, _until(worker)) for worker in behind) if u.until > now]


def _until(worker: Worker) -> datetime:
    said = worker.heartbeat
    return worker.last_heartbeat_at + timedelta(
        seconds=max_staleness_seconds(said.lease_seconds, said.store_timeout_seconds)
    )
