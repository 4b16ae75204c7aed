"""Refusals are recorded one by one up to 60 a minute for each caller and code; the rest are counted in one record."""

from __future__ import annotations

from tests.support.audit import ACTOR
from tokensvc.audit.record import AuditEvent, Outcome
from tokensvc.audit.refusal_windows import REFUSALS_PER_MINUTE, RefusalWindows


def refusal(code: str = "viewer_denied", name: str = "shop", request_id: str = "r") -> AuditEvent:
    actor = ACTOR._replace(name=name)
    return AuditEvent(actor, "tokens.issue", outcome=Outcome.REFUSED, code=code, request_id=request_id)


def test_the_first_of_a_minute_are_recorded_and_the_rest_are_counted_when_it_ends() -> None:
    windows = RefusalWindows()
    admitted = [event for _ in range(REFUSALS_PER_MINUTE + 40) for event in windows.admit(refusal(), 0.0)]
    assert admitted == [refusal()] * REFUSALS_PER_MINUTE
    assert windows.ended(59.9) == []
    [summary] = windows.ended(60.0)
    assert (summary.occurrences, summary.code, summary.request_id) == (40, "viewer_denied", "")
    assert windows.ended(1e9) == [], "counted once"


def test_each_action_and_key_is_counted_by_itself_with_the_rule_that_all_share() -> None:
    windows = RefusalWindows()
    for _ in range(REFUSALS_PER_MINUTE):
        windows.admit(refusal(), 0.0)
    issuing, reading = refusal()._replace(rule="scope tokens:issue"), refusal()._replace(action="status.read")
    other_key = issuing._replace(actor=ACTOR._replace(name="shop", key_id="ffffffffffff"))
    for event in (issuing, issuing, reading, reading._replace(rule="scope keys:read"), other_key):
        assert windows.admit(event, 0.0) == []
    counted = {(e.action, e.actor.key_id): (e.occurrences, e.rule) for e in windows.ended(60.0)}
    assert counted == {
        ("tokens.issue", ACTOR.key_id): (2, "scope tokens:issue"),
        ("status.read", ACTOR.key_id): (2, ""),
        ("tokens.issue", "ffffffffffff"): (1, "scope tokens:issue"),
    }


def test_callers_and_codes_have_limits_of_their_own() -> None:
    windows = RefusalWindows()
    for _ in range(REFUSALS_PER_MINUTE + 1):
        windows.admit(refusal(), 0.0)
    assert windows.admit(refusal(), 0.0) == []
    assert windows.admit(refusal(name="web"), 0.0) == [refusal(name="web")]
    assert windows.admit(refusal("rate_limited"), 0.0) == [refusal("rate_limited")]


def test_the_next_minute_starts_with_the_count_of_the_last() -> None:
    windows = RefusalWindows()
    for _ in range(REFUSALS_PER_MINUTE + 5):
        windows.admit(refusal(), 0.0)
    summary, event = windows.admit(refusal(), 61.0)
    assert (summary.occurrences, event.occurrences) == (5, 1)


def test_a_minute_without_too_many_leaves_no_summary() -> None:
    windows = RefusalWindows()
    windows.admit(refusal(), 0.0)
    assert windows.ended(60.0) == []
