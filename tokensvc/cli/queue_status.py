"""The queues of revocations for IVS, and an estimate of when each will be empty.

Invariants
- The estimate uses our fraction of IVS's documented rate limits, which apply per account and region.
- While calls to IVS fail, or no worker makes them, there is no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.output import format_table
from tokensvc.revocations.model import RevocationState
from tokensvc.revocations.queue import Backlog
from tokensvc.revocations.rate_limit import delivery_seconds
from tokensvc.revocations.store import Revocation
from tokensvc.storage.store import Store
from tokensvc.timestamps import rfc3339

NO_DISPATCHER_AFTER_SECONDS = 15.0
"""Longer than a worker needs to notice entries of an account and region without a dispatcher."""


class QueueStatus(NamedTuple):
    """The queue of one account and region."""

    account_region: AccountRegion
    queued: int
    oldest_age_seconds: float
    left_seconds: float | None
    """Estimated time until the queue is empty; None if a problem prevents delivery."""
    ends_at: str | None
    problem: str
    """Why there is no estimate; "" if there is one."""

    def to_json(self) -> dict[str, Any]:
        return {
            "account": self.account_region.account,
            "region": self.account_region.region,
            "queued": self.queued,
            "oldestAgeSeconds": int(self.oldest_age_seconds),
            "secondsLeft": None if self.left_seconds is None else round(self.left_seconds, 1),
            "endsAt": self.ends_at,
            "problem": self.problem or None,
        }


def queue_statuses(store: Store, rate_fraction: float) -> list[QueueStatus]:
    """Every queue that is not empty; `rate_fraction` is our fraction of IVS's rate limits. Raises StoreError."""
    from tokensvc.revocations.leader import read_leaders  # loads the dispatcher

    now, dispatchers = store.versions.read().now, read_leaders(store.leases)
    queues = []
    for account_region, backlog in sorted(store.revocation_queue.backlogs().items()):
        problem = _problem(backlog, has_dispatcher=account_region in dispatchers)
        left = None if problem else delivery_seconds(backlog.queued, rate_fraction)
        ends_at = None if left is None else rfc3339(int(now + left) + 1)
        queues.append(QueueStatus(account_region, backlog.queued, backlog.oldest_age_seconds, left, ends_at, problem))
    return queues


def _problem(backlog: Backlog, *, has_dispatcher: bool) -> str:
    if backlog.code:
        return f"IVS: {backlog.code}"
    if not has_dispatcher and backlog.oldest_age_seconds > NO_DISPATCHER_AFTER_SECONDS:
        return "no worker is dispatching: run tokensvc serve or tokensvc worker"
    return ""


def progress_line(queues: Sequence[QueueStatus], revocation: Revocation | None) -> str:
    """The status of the queues, and of one revocation if given, in one line."""
    status = "; ".join(
        f"{q.queued:,} queued in {q.account_region.region}, " + (q.problem or f"empty at about {q.ends_at}")
        for q in queues
    )
    if revocation is None:
        return status
    done = sum(target.state is not RevocationState.QUEUED for target in revocation.targets)
    return f"{done:,} of {len(revocation.targets):,} done; {status}"


def queue_table(queues: Sequence[QueueStatus]) -> list[str]:
    """The queues as a table."""
    if not queues:
        return ["Queue empty: all revocations delivered."]
    rows = [
        (
            q.account_region.account,
            q.account_region.region,
            f"{q.queued:,}",
            f"{q.oldest_age_seconds:.0f} s",
            "unknown" if q.left_seconds is None else f"{max(1, math.ceil(q.left_seconds))} s",
            q.ends_at or "unknown",
            q.problem or "-",
        )
        for q in queues
    ]
    return format_table(("ACCOUNT", "REGION", "QUEUED", "OLDEST", "REMAINING", "EMPTY AT", "PROBLEM"), rows)
