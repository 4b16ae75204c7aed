"""What waits to be told to IVS, for people, and about when that ends.

Rules of the file
- The end is reckoned from our share of IVS's documented rates, which hold in each account and region by itself.
- While calls to IVS fail, or no worker makes them, the end is unknown and none is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.output import format_table
from tokensvc.revocations.leader import read_leaders
from tokensvc.revocations.model import RevocationState
from tokensvc.revocations.queue import Backlog
from tokensvc.revocations.rate_limit import delivery_seconds
from tokensvc.revocations.store import Revocation
from tokensvc.storage.store import Store
from tokensvc.timestamps import rfc3339

NO_DISPATCHER_AFTER_SECONDS = 15.0
"""Longer than it takes a worker to notice what waits in a place that nobody serves yet."""


class QueueStatus(NamedTuple):
    """What waits in one account and region."""

    account_region: AccountRegion
    queued: int
    oldest_seconds: float
    left_seconds: float | None
    """How long it takes, if nothing goes wrong; None where something does."""
    ends_at: str | None
    problem: str
    """Why the end is unknown; "" where it is known."""

    def shown(self) -> dict[str, Any]:
        return {
            "account": self.account_region.account,
            "region": self.account_region.region,
            "queued": self.queued,
            "oldestSeconds": int(self.oldest_seconds),
            "secondsLeft": None if self.left_seconds is None else round(self.left_seconds, 1),
            "endsAt": self.ends_at,
            "problem": self.problem or None,
        }


def queue_statuses(store: Store, rate_fraction: float) -> list[QueueStatus]:
    """What waits, by place; `share` is how much of IVS's rates is ours. Raises StoreError."""
    now, senders = store.versions.read().now, read_leaders(store.leases)
    results = []
    for account_region, waiting in sorted(store.revocation_queue.backlogs().items()):
        problem = _problem(waiting, has_sender=account_region in senders)
        left = None if problem else delivery_seconds(waiting.queued, rate_fraction)
        ends_at = None if left is None else rfc3339(int(now + left) + 1)
        results.append(QueueStatus(account_region, waiting.queued, waiting.oldest_seconds, left, ends_at, problem))
    return results


def _problem(waiting: Backlog, *, has_sender: bool) -> str:
    if waiting.code:
        return f"IVS: {waiting.code}"
    if not has_sender and waiting.oldest_seconds > NO_DISPATCHER_AFTER_SECONDS:
        return "no worker sends them: run tokensvc serve, or tokensvc worker"
    return ""


def progress_line(queues: Sequence[QueueStatus], one: Revocation | None) -> str:
    """How it stands, in one line."""
    queue = "; ".join(
        f"{p.queued:,} queued in {p.account_region.region}, " + (p.problem or f"until about {p.ends_at}") for p in queues
    )
    if one is None:
        return queue
    done = sum(target.state is not RevocationState.QUEUED for target in one.targets)
    return f"{done:,} of {len(one.targets):,} done; {queue}"


def queue_table(queues: Sequence[QueueStatus]) -> list[str]:
    """The figures as a table."""
    if not queues:
        return ["Nothing waits: IVS has been told of everything."]
    rows = [
        (
            p.account_region.account,
            p.account_region.region,
            f"{p.queued:,}",
            f"{p.oldest_seconds:.0f} s",
            "unknown" if p.left_seconds is None else f"{max(1, math.ceil(p.left_seconds))} s",
            p.ends_at or "unknown",
            p.problem or "-",
        )
        for p in queues
    ]
    return format_table(("ACCOUNT", "REGION", "QUEUED", "OLDEST", "TAKES", "UNTIL ABOUT", "PROBLEM"), rows)
