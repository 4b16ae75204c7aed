"""What waits to be told to IVS, for people, and about when that ends.

Rules of the file
- The end is reckoned from our share of IVS's documented rates, which hold in each account and region by itself. While
  IVS throttles, or does not answer, it comes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tokensvc.adapters.sql.store import Store
from tokensvc.cli.screen import table
from tokensvc.core.arn import Place
from tokensvc.core.instant import rfc3339
from tokensvc.core.pacing import drain_seconds
from tokensvc.core.revocation import State
from tokensvc.ports.revocations import Revocation


class PlaceWaiting(NamedTuple):
    """What waits in one account and region."""

    place: Place
    queued: int
    oldest_seconds: float
    left_seconds: float
    """How long it takes, if nothing goes wrong."""
    ends_at: str

    def shown(self) -> dict[str, Any]:
        return {
            "account": self.place.account,
            "region": self.place.region,
            "queued": self.queued,
            "oldestSeconds": int(self.oldest_seconds),
            "secondsLeft": round(self.left_seconds, 1),
            "endsAt": self.ends_at,
        }


def figures(store: Store, share: float) -> list[PlaceWaiting]:
    """What waits, by place; `share` is how much of IVS's rates is ours. Raises StoreError."""
    now = store.versions.read().now
    found = []
    for place, waiting in sorted(store.revocation_queue.waiting().items()):
        left = drain_seconds(waiting.queued, share)
        found.append(PlaceWaiting(place, waiting.queued, waiting.oldest_seconds, left, rfc3339(int(now + left) + 1)))
    return found


def progress_line(there: Sequence[PlaceWaiting], one: Revocation | None) -> str:
    """How it stands, in one line."""
    queue = "; ".join(f"{p.queued:,} queued in {p.place.region}, until about {p.ends_at}" for p in there)
    if one is None:
        return queue
    done = sum(target.state is not State.QUEUED for target in one.targets)
    return f"{done:,} of {len(one.targets):,} done; {queue}"


def shown_queue(there: Sequence[PlaceWaiting]) -> list[str]:
    """The figures as a table."""
    if not there:
        return ["Nothing waits: IVS has been told of everything."]
    rows = [
        (
            p.place.account,
            p.place.region,
            f"{p.queued:,}",
            f"{p.oldest_seconds:.0f} s",
            f"{p.left_seconds:.0f} s",
            p.ends_at,
        )
        for p in there
    ]
    return table(("ACCOUNT", "REGION", "QUEUED", "OLDEST", "TAKES", "UNTIL ABOUT"), rows)
