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


class SampledResponse(NamedTuple):
    """An answer, what it answers, and when it came (seconds since the epoch)."""

    request: Request
    body: bytes
    received_at: float


class Reservoir:
    """Keeps so many of all that it is offered."""

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity = capacity
        self._offered = 0
        self._random = Random(seed).random
        self.samples: list[SampledResponse] = []

    def offer(self, request: Request, body: bytes) -> None:
        """Keep it, perhaps in another's place, or not."""
        if not KINDS[request.kind].returns_tokens:
            return
        self._offered += 1
        if len(self.samples) < self._capacity:
            self.samples.append(SampledResponse(request, body, time.time()))
        elif (index := int(self._random() * self._offered)) < self._capacity:
            self.samples[index] = SampledResponse(request, body, time.time())
