"""Workers that may still sign with an outdated set of keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokensvc.deployment.versions import Version
from tokensvc.deployment.workers import Worker
from tokensvc.keys.rotation_policy import max_staleness_seconds


class StaleWorker(NamedTuple):
    """A worker whose last heartbeat names another version of the keys."""

    worker: Worker
    until: datetime
    """When it is in sync at the latest, or its snapshot lease has expired and it signs nothing."""


def find_stale_workers(workers: Sequence[Worker], keys: Version, now: datetime) -> list[StaleWorker]:
    """The workers whose last heartbeat names another version of the keys, and that may still sign with it.

    That is an older version, or one from before the store was restored. A worker without a heartbeat for its whole
    lease no longer signs, and a worker without a lease never does. Read the workers before the version.
    """
    outdated = [w for w in workers if not w.heartbeat.has_keys_version(keys) and w.heartbeat.lease_seconds > 0]
    stale = [StaleWorker(worker, _stale_until(worker)) for worker in outdated]
    return [worker for worker in stale if worker.until > now]


def _stale_until(worker: Worker) -> datetime:
    heartbeat = worker.heartbeat
    return worker.last_heartbeat_at + timedelta(
        seconds=max_staleness_seconds(heartbeat.lease_seconds, heartbeat.store_timeout_seconds)
    )
