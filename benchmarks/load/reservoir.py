"""A fair choice of answers with tokens, kept to be judged after the run.

Rules of the file
- Every success that holds tokens has the same chance to be kept, whenever the run ends (Vitter's algorithm R).
"""

from __future__ import annotations

import time
from random import Random
from typing import NamedTuple

from benchmarks.load.request_kinds import KINDS
from benchmarks.load.wire import Request


class Kept(NamedTuple):
    """An answer, what it answers, and when it came (seconds since the epoch)."""

    request: Request
    body: bytes
    came_at: float


class Reservoir:
    """Keeps so many of all that it is offered."""

    def __init__(self, room: int, seed: int) -> None:
        self._room = room
        self._offered = 0
        self._random = Random(seed).random
        self.kept: list[Kept] = []

    def offer(self, request: Request, body: bytes) -> None:
        """Keep it, perhaps in another's place, or not."""
        if not KINDS[request.kind].mints:
            return
        self._offered += 1
        if len(self.kept) < self._room:
            self.kept.append(Kept(request, body, time.time()))
        elif (place := int(self._random() * self._offered)) < self._room:
            self.kept[place] = Kept(request, body, time.time())
