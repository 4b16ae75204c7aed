"""Every viewer that is denied, or let in only from a session version on: what one worker holds of them.

Rules of the file
- One thread writes (the refresh), any number read: a reader sees an entry as it was or as it is, never half of it.
- Nothing takes long: a slice of SLICE_ROWS changes and one step of `sweep` each end within 5 ms, so that whoever shares
  the interpreter is not kept waiting. The writer pauses between slices.
- Entries end by themselves: what is over is passed over by a look-up at once, and forgotten by a sweep later.
- Where nobody is denied, asking costs next to nothing: most deployments are so most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import ViewerDenied
from tokensvc.timestamps import rfc3339
from tokensvc.tokens.session_versions import Standing, digest, over_at, pack, unpack

SLICE_ROWS = 1000
"""Changes that are applied at once."""
_SHARDS = 256
"""By the digest's first byte; a sweep goes through one of them, which of a million entries is 4,000."""


class Denied:
    """Standings by digest."""

    def __init__(self) -> None:
        self._shards: list[dict[bytes, int]] = [{} for _ in range(_SHARDS)]
        self._next = 0
        self._is_empty = True
        """May say False of an empty one until the next sweep has gone round, never True of another."""

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __repr__(self) -> str:
        return f"Denied({len(self)})"

    def apply(self, changes: Iterable[tuple[bytes, Standing]], now: float) -> None:
        """Take these standings for true; at most SLICE_ROWS of them at once."""
        for name, standing in changes:
            shard = self._shards[name[0]]
            if standing.over_at > now:
                self._is_empty = False
                shard[name] = pack(standing)
            else:
                shard.pop(name, None)

    def sweep(self, now: float) -> None:
        """Forget what is over in the next shard; after as many steps as there are shards, everywhere."""
        shard = self._shards[self._next]
        over = [name for name, packed in shard.items() if over_at(packed) <= now]
        if over:  # a new dictionary, since one that shrinks keeps its room
            self._shards[self._next] = {name: shard[name] for name in shard.keys() - set(over)}
        self._next = (self._next + 1) % _SHARDS
        if self._next == 0:
            self._is_empty = not any(self._shards)

    def admit(self, channel_arn: str, viewer_id: str, now: int) -> int:
        """The lowest session version that a token for this viewer may carry. Raises ViewerDenied."""
        if self._is_empty:
            return 0
        here = self._standing(digest(channel_arn, viewer_id))
        until = max(here.denied_until, self._standing(digest(ALL_CHANNELS, viewer_id)).denied_until)
        if until > now:
            raise ViewerDenied(f"this viewer gets no token for this channel until {rfc3339(until)}")
        return here.lowest_version(now) if here.minimum_lead else here.minimum_version

    def _standing(self, name: bytes) -> Standing:
        packed = self._shards[name[0]].get(name)
        return unpack(packed) if packed is not None else _NOTHING


_NOTHING = Standing()
