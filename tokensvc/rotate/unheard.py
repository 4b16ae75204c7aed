"""Which workers may not know yet what the keys are by now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokensvc.core.rotation import reach_seconds
from tokensvc.ports.workers import Worker


class Unheard(NamedTuple):
    """A worker whose last heartbeat told of older keys."""

    worker: Worker
    until: datetime
    """By then it has heard, or its snapshot's lease has ended and it signs nothing."""


def unheard(workers: Sequence[Worker], keys_version: int, now: datetime) -> list[Unheard]:
    """Those that told of older keys, and may still sign with them. One that was silent for all its lease does no
    longer, and one without a lease never did."""
    behind = [w for w in workers if w.heartbeat.keys_version < keys_version and w.heartbeat.lease_seconds > 0]
    return [u for u in (Unheard(worker, _until(worker)) for worker in behind) if u.until > now]


def _until(worker: Worker) -> datetime:
    said = worker.heartbeat
    return worker.beat_at + timedelta(seconds=reach_seconds(said.lease_seconds, said.store_timeout_seconds))
