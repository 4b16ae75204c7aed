"""Decides when a lasting failure is worth a line in the log, and writes the lines of the background tasks' failures.

Invariants
- An outage has a line when it starts, with its cause; a line for each further cause, at once; one reminder a minute
  while it lasts; and one line when it ends, with how long it lasted.
- One that starts and ends again and again, or changes its cause each time, has at most AT_ONCE_MAX lines in a minute
  besides the reminder. An outage whose start had no line has none for its end.
- The store is shared by all tasks of a process: while it is unavailable, they have one outage together. It ends when
  one of the tasks that failed for it has run without a failure.
- Times are read from the monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from tokensvc.errors import StoreUnavailable, TokensvcError
from tokensvc.log import structlog

REMINDER_INTERVAL_SECONDS = 60.0
MAX_LINES_PER_MINUTE = 5

_STORE = "the store"
_log = structlog.get_logger(__name__)


class OutageReport(NamedTuple):
    """What a line about an outage says."""

    is_start: bool
    """Whether it is about a cause that this outage did not have before; else it is a reminder."""
    seconds: float
    """How long the outage has lasted, or did last."""
    failures: int
    """How many there were since it started."""


@dataclass
class _Outage:
    started_at: float
    causes: set[Hashable] = field(default_factory=set)
    failures: int = 0
    is_reported: bool = False


class OutageTracker:
    """The outages of any number of subjects, each by its own name."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._outages: dict[Hashable, _Outage] = {}
        self._reported_at: dict[Hashable, deque[float]] = {}
        """When the newest lines of a subject were due; they outlast its outages."""

    def record_failure(self, subject: Hashable, cause: Hashable) -> OutageReport | None:
        """Count a failure; the line that is due for it, if one is."""
        now = self._monotonic()
        with self._lock:
            outage = self._outages.setdefault(subject, _Outage(now))
            outage.failures += 1
            reported = self._reported_at.setdefault(subject, deque(maxlen=MAX_LINES_PER_MINUTE))
            is_new = cause not in outage.causes
            has_room = len(reported) < MAX_LINES_PER_MINUTE or now - reported[0] >= REMINDER_INTERVAL_SECONDS
            is_due = not reported or now - reported[-1] >= REMINDER_INTERVAL_SECONDS
            if not (is_due or (is_new and has_room)):
                return None
            if len(outage.causes) < 2 * MAX_LINES_PER_MINUTE:  # beyond, it is one that changes each time
                outage.causes.add(cause)
            reported.append(now)
            outage.is_reported = True
            return OutageReport(is_new, now - outage.started_at, outage.failures)

    def record_recovery(self, subject: Hashable) -> OutageReport | None:
        """Note that the subject works; what the line says that is due if its outage ended by that."""
        with self._lock:
            outage = self._outages.pop(subject, None)
            if outage is None or not outage.is_reported:
                return None
            return OutageReport(False, self._monotonic() - outage.started_at, outage.failures)


class FailureLog:
    """The lines about background tasks that fail; one for all tasks of a process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._outages = OutageTracker(monotonic)
        self._without_store: set[str] = set()
        """The tasks that failed in the present outage of the store."""

    def record_failure(self, task: str, problem: Exception) -> None:
        """Log it, if a line is due. Of an exception that is not ours only the type is logged: its text may quote
        anything."""
        code, cause, words = "internal_error", type(problem).__name__, type(problem).__name__
        if isinstance(problem, TokensvcError):
            code, cause, words = problem.code, problem.message, problem.operator_message
        subject = task
        if isinstance(problem, StoreUnavailable):
            subject = _STORE
            self._without_store.add(task)
        report = self._outages.record_failure(subject, (code, cause))
        if report is None:
            return
        event = "background duty failed" if report.is_start else "background duty still fails"
        if subject == _STORE:
            event = "the store is unavailable" if report.is_start else "the store is still unavailable"
        seconds = round(report.seconds, 1)
        _log.warning(event, loop=task, code=code, problem=words, failures=report.failures, seconds=seconds)

    def record_success(self, task: str) -> None:
        """Log that it works again, if a line is due."""
        self._end(task, task, "background duty works again")
        if task in self._without_store:
            self._without_store.clear()
            self._end(_STORE, task, "the store is available again")

    def _end(self, subject: str, task: str, event: str) -> None:
        report = self._outages.record_recovery(subject)
        if report is not None:
            _log.info(event, loop=task, failures=report.failures, seconds=round(report.seconds, 1))
