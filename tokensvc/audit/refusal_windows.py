"""Bounds the records of refusals: a caller that is refused a thousand times a second must not fill the store.

Invariants
- At most REFUSALS_PER_MINUTE records in a minute for each caller and code. The rest of the minute becomes one record
  for each action and API key, which says how many there were. No refusal is left uncounted.
- Reads its arguments and nothing else: the caller passes the time, of a monotonic clock.
"""

from __future__ import annotations

from tokensvc.audit.record import AuditEvent

REFUSALS_PER_MINUTE = 60
WINDOW_SECONDS = 60.0


class _Window:
    """One minute of refusals of one caller with one code."""

    __slots__ = ("ends_at", "recorded", "suppressed")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.recorded = 0
        self.suppressed: dict[tuple[str, str], AuditEvent] = {}
        """The refusals that were not recorded one by one, as one record for each action and API key."""

    def suppress(self, event: AuditEvent) -> None:
        """Count a refusal instead of recording it. The record has what all its refusals have in common."""
        key = event.action, event.actor.key_id
        counted = self.suppressed.get(key)
        if counted is None:
            self.suppressed[key] = event._replace(request_id="", target="", viewer="")
            return
        rule = event.rule if event.rule == counted.rule else ""
        self.suppressed[key] = counted._replace(occurrences=counted.occurrences + 1, rule=rule)


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
            summaries = list(self._windows.pop(name).suppressed.values())
            window = None
        if window is None:
            window = self._windows[name] = _Window(now + WINDOW_SECONDS)
        if window.recorded < REFUSALS_PER_MINUTE:
            window.recorded += 1
            return [*summaries, event]
        window.suppress(event)
        return summaries

    def ended(self, now: float) -> list[AuditEvent]:
        """The summaries of the minutes that have ended by then, which are forgotten."""
        names = [name for name, window in self._windows.items() if window.ends_at <= now]
        return [summary for name in names for summary in self._windows.pop(name).suppressed.values()]
