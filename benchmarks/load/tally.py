"""What one generator counts during a run.

Invariants
- Each request costs a few dictionary operations: a generator that counts slowly sends late.
- Latency counts from the time at which the request was due. A request that was never completed counts with the time it
  waited; a rejected one has no latency, since fast rejections would make it look better: it is counted by its code.
- A request belongs to the second in which it was due, its tokens to the second in which they were received.
- Requests due during the warm-up are in the counts and errors of their seconds and in no other figure.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from benchmarks.load.latency import COARSE, FINE, Counts, count
from benchmarks.load.request_kinds import KINDS, rejected_in, tokens_in
from benchmarks.load.wire import Request

_CODE = re.compile(rb'"code":\s?"(\w{1,64})"')


@dataclass(slots=True)
class Second:
    """One second of the run."""

    sent: int = 0
    """Requests that were due in it."""
    failed: int = 0
    """Failures of requests that were due in it."""
    completed: int = 0
    """Successes received in it, whenever they were due."""
    tokens: int = 0
    latencies: Counts = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    """Errors by code, of requests that were due in it."""


class Tally:
    """The counts of one generator, by second from the start of the schedule."""

    def __init__(self, warmup_seconds: int) -> None:
        self._warmup = warmup_seconds
        self.seconds: defaultdict[int, Second] = defaultdict(Second)
        self.kinds: defaultdict[str, Counts] = defaultdict(dict)
        self.succeeded: Counter[str] = Counter()
        """By kind."""
        self.errors: Counter[str] = Counter()
        self.scheduling_delays: Counts = {}
        self.waited = 0
        """Requests that found no free connection when they were due."""

    def sent(self, due: float, late: float, waits: bool) -> None:
        """Count a request that was due at `due` seconds of the run and handled `late` seconds later."""
        self.seconds[int(due)].sent += 1
        if due >= self._warmup:
            self.waited += waits
            count(self.scheduling_delays, late, FINE)

    def completed(self, due: float, received: float, request: Request, status: int, body: bytes) -> bool:
        """Count a response; returns whether it is a success."""
        if status != KINDS[request.kind].status:
            code = _CODE.search(body)
            self._failed(due, f"{status} {code[1].decode()}" if code else str(status))
            return False
        second = self.seconds[int(received)]
        second.completed += 1
        second.tokens += tokens_in(body)
        if due >= self._warmup:
            self.succeeded[request.kind] += 1
        self._record_latency(due, received - due, request.kind)
        if rejected_in(request.kind, body):
            self._failed(due, *(f"{code.decode()} in a batch" for code in _CODE.findall(body)))
        return True

    def unfinished(self, due: float, abandoned_at: float, request: Request, reason: str) -> None:
        """Count a request without a response under this error."""
        self._failed(due, reason)
        self._record_latency(due, abandoned_at - due, request.kind)

    def _failed(self, due: float, *codes: str) -> None:
        second = self.seconds[int(due)]
        second.failed += 1
        second.errors.update(codes)
        if due >= self._warmup:
            self.errors.update(codes)

    def _record_latency(self, due: float, seconds: float, kind: str) -> None:
        if due < self._warmup:
            return
        count(self.seconds[int(due)].latencies, seconds, COARSE)
        count(self.kinds[kind], seconds, FINE)
