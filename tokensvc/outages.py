"""Decides when a lasting failure is worth a log line, and writes the log lines about failing background tasks.

Invariants
- An outage is logged when it starts, with its cause; again immediately for each further cause; once a minute while it
  lasts; and when it ends, with its duration.
- An outage that starts and ends repeatedly, or changes its cause each time, has at most MAX_LINES_PER_MINUTE lines a
  minute besides the reminder. If the start of an outage was not logged, its end is not logged either.
- The store is shared by all tasks of a process: while it is unavailable, they have one outage together. It ends when
  one of the tasks that failed because of it runs without a failure.
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
    """The content of a log line about an outage."""

    is_start: bool
    """Whether the line is about a cause that this outage did not have before; otherwise it is a reminder."""
    seconds: float
    """How long the outage has lasted, or did last."""
    failures: int
    """The number of failures since it started."""


@dataclass
class _Outage:
    started_at: float
    causes: set[Hashable] = field(default_factory=set)
    failures: int = 0
    is_reported: bool = False


class OutageTracker:
    """The outages of any number of subjects, each identified by a name."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._outages: dict[Hashable, _Outage] = {}
        self._reported_at: dict[Hashable, deque[float]] = {}
        """When the most recent lines about a subject were due. Kept after an outage has ended."""

    def record_failure(self, subject: Hashable, cause: Hashable) -> OutageReport | None:
        """Count a failure. Returns the line to log, if one is due."""
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
            if len(outage.causes) < 2 * MAX_LINES_PER_MINUTE:  # with more, the cause probably differs each time
                outage.causes.add(cause)
            reported.append(now)
            outage.is_reported = True
            return OutageReport(is_new, now - outage.started_at, outage.failures)

    def record_recovery(self, subject: Hashable) -> OutageReport | None:
        """Note that the subject works. Returns the line to log if that ends an outage whose start was logged."""
        with self._lock:
            outage = self._outages.pop(subject, None)
            if outage is None or not outage.is_reported:
                return None
            return OutageReport(False, self._monotonic() - outage.started_at, outage.failures)


class FailureLog:
    """Logs the failures of background tasks; one instance for all tasks of a process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._outages = OutageTracker(monotonic)
        self._without_store: set[str] = set()
        """The tasks that have failed in the current outage of the store."""

    def record_failure(self, task: str, error: Exception) -> None:
        """Log the failure, if a line is due. Of an exception that is not a TokensvcError only the type is logged: its
        message may quote anything."""
        code, cause, text = "internal_error", type(error).__name__, type(error).__name__
        if isinstance(error, TokensvcError):
            code, cause, text = error.code, error.message, error.operator_message
        subject = task
        if isinstance(error, StoreUnavailable):
            subject = _STORE
            self._without_store.add(task)
        report = self._outages.record_failure(subject, (code, cause))
        if report is None:
            return
        event = "background task failed" if report.is_start else "background task still failing"
        if subject == _STORE:
            event = "store unavailable" if report.is_start else "store still unavailable"
        seconds = round(report.seconds, 1)
        _log.warning(event, task=task, code=code, error=text, failures=report.failures, seconds=seconds)

    def record_success(self, task: str) -> None:
        """Log that the task works again, if a line is due."""
        self._log_recovery(task, task, "background task recovered")
        if task in self._without_store:
            self._without_store.clear()
            self._log_recovery(_STORE, task, "store available again")

    def _log_recovery(self, subject: str, task: str, event: str) -> None:
        report = self._outages.record_recovery(subject)
        if report is not None:
            _log.info(event, task=task, failures=report.failures, seconds=round(report.seconds, 1))
