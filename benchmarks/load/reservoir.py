"""A uniform random sample of responses with tokens, to be verified after the run.

Invariants
- Every success that contains tokens is sampled with the same probability, whenever the run ends (Vitter's algorithm R).
"""

from __future__ import annotations

import time
from random import Random
from typing import NamedTuple

from benchmarks.load.request_kinds import KINDS
from benchmarks.load.wire import Request


class SampledResponse(NamedTuple):
    """A response, its request, and when it was received (seconds since the epoch)."""

    request: Request
    body: bytes
    received_at: float


class Reservoir:
    """A sample of at most `capacity` of the offered responses."""

    def __init__(self, capacity: int, seed: int) -> None:
        self._capacity = capacity
        self._offered = 0
        self._random = Random(seed).random
        self.samples: list[SampledResponse] = []

    def offer(self, request: Request, body: bytes) -> None:
        """Add a response to the sample, replacing another if it is full, or not at all."""
        if not KINDS[request.kind].returns_tokens:
            return
        self._offered += 1
        if len(self.samples) < self._capacity:
            self.samples.append(SampledResponse(request, body, time.time()))
        elif (index := int(self._random() * self._offered)) < self._capacity:
            self.samples[index] = SampledResponse(request, body, time.time())
