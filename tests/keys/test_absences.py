"""Which responses confirm that IVS does not hold a pair."""

from __future__ import annotations

from datetime import timedelta

from tests.support.clocks import ManualClock
from tokensvc.keys.absences import CONFIRM_SECONDS, AbsenceTracker

ARN = "arn:aws:ivs:us-east-1:123456789012:playback-key/one"
OTHER = ARN + "more"


def test_two_responses_far_enough_apart_confirm_an_absence() -> None:
    absences = AbsenceTracker()
    absences.record_absent(ARN, 100.0, account_verified=True)
    absences.record_absent(ARN, 100.0 + CONFIRM_SECONDS - 0.01, account_verified=True)
    assert not absences.is_confirmed(ARN)
    absences.record_absent(ARN, 100.0 + CONFIRM_SECONDS, account_verified=True)
    assert absences.is_confirmed(ARN)
    assert not absences.is_confirmed(OTHER)


def test_time_alone_does_not_confirm_an_absence() -> None:
    absences = AbsenceTracker()
    absences.record_absent(ARN, 100.0, account_verified=True)
    assert absences.should_ask(ARN, 1000.0, account_verified=True)
    assert not absences.is_confirmed(ARN)


def test_a_response_from_an_unverified_account_does_not_count() -> None:
    absences = AbsenceTracker()
    absences.record_absent(ARN, 100.0, account_verified=False)
    absences.record_absent(ARN, 200.0, account_verified=True)
    absences.record_absent(ARN, 300.0, account_verified=False)
    assert not absences.is_confirmed(ARN)
    assert absences.should_ask(ARN, 300.0, account_verified=True)
    absences.record_absent(ARN, 300.0, account_verified=True)
    assert absences.is_confirmed(ARN)


def test_a_pair_that_reappears_needs_two_new_responses() -> None:
    absences = AbsenceTracker()
    for at in (100.0, 200.0):
        absences.record_absent(ARN, at, account_verified=True)
    absences.record_present(ARN)
    assert not absences.is_confirmed(ARN)
    absences.record_absent(ARN, 201.0, account_verified=True)
    assert not absences.is_confirmed(ARN)


def test_ivs_is_not_asked_before_its_response_may_confirm_the_absence() -> None:
    absences, now = AbsenceTracker(), ManualClock().at()
    assert absences.should_ask(ARN, 100.0, account_verified=True)
    absences.record_absent(ARN, 100.0, account_verified=True)
    assert not absences.should_ask(ARN, 100.0 + CONFIRM_SECONDS - 0.01, account_verified=True)
    assert absences.should_ask(ARN, 100.0 + CONFIRM_SECONDS, account_verified=True)
    assert absences.recheck_at(ARN, 102.0, now) == now + timedelta(seconds=CONFIRM_SECONDS - 2)
