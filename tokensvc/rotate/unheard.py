"""Which workers may not know yet what the keys are by now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tokensvc.ports.workers import Worker


class Unheard(NamedTuple):
    """A worker whose last heartbeat told of older keys."""

    worker: Worker
    until: datetime
    """By then it has heard, or its snapshot's lease has ended and it signs nothing."""


def unheard(workers: Sequence[Worker], keys_version: int, now: datetime, reach_seconds: float) -> list[Unheard]:
    """Those that told of older keys, and may still work by them. One that was silent for all its lease is no longer."""
    behind = [w for w in workers if w.heartbeat.keys_version < keys_version]
    told = [Unheard(worker, worker.beat_at + timedelta(seconds=reach_seconds)) for worker in behind]
    return [u for u in told if u.until > now]
