"""Bounds the records of refusals: a caller that is refused a thousand times a second must not fill the store.

Invariants
- At most REFUSALS_PER_MINUTE records in a minute for each caller and code; the rest of the minute becomes one record
  that says how many there were. No refusal is left uncounted.
- Reads its arguments and nothing else: the caller passes the time, of a monotonic clock.
"""

from __future__ import annotations

from tokensvc.audit.record import AuditEvent

REFUSALS_PER_MINUTE = 60
WINDOW_SECONDS = 60.0


class _Window:
    """One minute of refusals of one caller with one code."""

    __slots__ = ("ends_at", "last", "recorded", "suppressed")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.recorded = 0
        self.suppressed = 0
        self.last: AuditEvent | None = None


class RefusalWindows:
    """The refusals of the present minute. Callers and codes are few, so the number of windows is bounded."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}

    def admit(self, event: AuditEvent, now: float) -> list[AuditEvent]:
        """The records to write for this refusal: itself, nothing if there were too many, and before it the summary of a
        minute that has ended."""
        name = event.actor.name, event.code
        window = self._windows.get(name)
        summaries = []
        if window is not None and window.ends_at <= now:
            summaries = _summary(self._windows.pop(name))
            window = None
        if window is None:
            window = self._windows[name] = _Window(now + WINDOW_SECONDS)
        if window.recorded < REFUSALS_PER_MINUTE:
            window.recorded += 1
            return [*summaries, event]
        window.suppressed += 1
        window.last = event
        return summaries

    def ended(self, now: float) -> list[AuditEvent]:
        """The summaries of the minutes that have ended by then, which are forgotten."""
        names = [name for name, window in self._windows.items() if window.ends_at <= now]
        return [summary for name in names for summary in _summary(self._windows.pop(name))]


def _summary(window: _Window) -> list[AuditEvent]:
    """One record for the refusals that were not recorded one by one. It has no request id: they were many requests."""
    if window.last is None:
        return []
    return [window.last._replace(occurrences=window.suppressed, request_id="", target="", viewer="")]
