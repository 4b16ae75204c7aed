"""The live window slides without a gap, and its numbers are right for days."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.local_ivs.environment import START
from tokensvc.local_ivs.edge import media_playlist
from tokensvc.local_ivs.edge.window import (
    RETAINED_SEGMENTS,
    WINDOW_SEGMENTS,
    AdBreak,
    LiveWindow,
    is_available,
    live_window,
)
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS

pytestmark = pytest.mark.slow

STARTED_AT = int(START)
DAYS = 3 * 24 * 3600
DATE_RANGE = re.compile(r'^#EXT-X-DATERANGE:ID="([^"]+)".*-AD-BREAK-ID="([^"]+)"$', re.MULTILINE)

starts = st.integers(STARTED_AT, STARTED_AT + 1000)
loops = st.sampled_from([1, 2, 3, 30, 45])


@st.composite
def ad_break_lists(draw: st.DrawFn) -> tuple[AdBreak, ...]:
    """Ad breaks that do not overlap, some of them adjacent, in any order."""
    at: int = STARTED_AT + 1000
    found: list[AdBreak] = []
    for number in range(draw(st.integers(0, 6))):
        at += draw(st.sampled_from([0, 1, 2, 3, 7, 60, 3600]))
        ad_break = AdBreak(f"break-{number}", at, draw(st.sampled_from([1, 2, 3]) | st.integers(1, 90)))
        if not any(ad_break.overlaps(other) for other in found):
            found.append(ad_break)
        at += ad_break.duration
    return tuple(draw(st.permutations(found)))


def numbers(window: LiveWindow) -> list[int]:
    return [segment.number for segment in window.segments]


def discontinuity_sequences(window: LiveWindow) -> dict[int, int]:
    """Segment -> its discontinuity sequence number (RFC 8216, section 6.2.1)."""
    sequence, found = window.discontinuity_sequence, {}
    for segment in window.segments:
        sequence += segment.is_discontinuous
        found[segment.number] = sequence
    return found


@pytest.mark.parametrize("seconds", [0, 0.5, 1.999])
def test_a_stream_has_a_whole_window_at_its_start(seconds: float) -> None:
    window = live_window(STARTED_AT + seconds, STARTED_AT, 1)
    assert (window.media_sequence, window.discontinuity_sequence) == (0, 0)
    assert [segment.starts_at for segment in window.segments] == [STARTED_AT - 12 + 2 * n for n in range(6)]
    assert [segment.is_discontinuous for segment in window.segments] == [False, *[True] * 5]


@given(starts, loops, st.floats(0, DAYS))
def test_the_newest_segment_has_just_ended(started_at: int, loop: int, seconds: float) -> None:
    now = started_at + seconds
    window = live_window(now, started_at, loop)
    end = window.segments[-1].starts_at + SEGMENT_SECONDS
    assert end <= now < end + SEGMENT_SECONDS or (end == now // 2 * 2 and seconds == 0)
    assert numbers(window) == list(range(numbers(window)[0], numbers(window)[0] + WINDOW_SEGMENTS))


@given(starts, loops, ad_break_lists(), st.integers(0, DAYS))
def test_each_segment_keeps_its_numbers_and_its_picture(
    started_at: int, loop: int, ad_breaks: tuple[AdBreak, ...], seconds: int
) -> None:
    before, after = (live_window(started_at + at, started_at, loop, ad_breaks) for at in (seconds, seconds + 2))
    assert after.media_sequence == before.media_sequence + 1
    assert after.media_sequence - before.media_sequence == numbers(after)[0] - numbers(before)[0]
    assert before.segments[1:] == after.segments[:-1]
    assert after.discontinuity_sequence - before.discontinuity_sequence == before.segments[0].is_discontinuous
    old, new = discontinuity_sequences(before), discontinuity_sequences(after)
    assert all(new[number] == old[number] for number in new if number in old)


@given(starts, loops, ad_break_lists(), st.integers(0, 2 * 3600))
def test_the_discontinuity_sequence_counts_all_that_passed(
    started_at: int, loop: int, ad_breaks: tuple[AdBreak, ...], seconds: int
) -> None:
    window = live_window(started_at + seconds, started_at, loop, ad_breaks)
    all_before = range(numbers(window)[0] - window.media_sequence + 1, numbers(window)[0])
    slate = {number for ad_break in ad_breaks for number in range(ad_break.first, ad_break.end)}
    assert window.discontinuity_sequence == sum(
        number % loop == 0 or number in slate or number - 1 in slate for number in all_before
    )


@given(starts, loops, ad_break_lists(), st.integers(0, 4 * 3600))
def test_segments_that_do_not_follow_each_other_in_the_picture_are_discontinuous(
    started_at: int, loop: int, ad_breaks: tuple[AdBreak, ...], seconds: int
) -> None:
    segments = live_window(started_at + seconds, started_at, loop, ad_breaks).segments
    for before, after in pairwise(segments):
        runs_on = before.ad_break is after.ad_break is None and before.number % loop + 1 == after.number % loop
        assert after.is_discontinuous is not runs_on


@given(st.integers(0, 1000), st.integers(1, 300))
def test_a_slate_lasts_for_its_ad_break(offset: int, duration: int) -> None:
    ad_break = AdBreak("a", STARTED_AT + offset, duration)
    assert 0 <= ad_break.first * SEGMENT_SECONDS - ad_break.start < SEGMENT_SECONDS
    assert abs((ad_break.end - ad_break.first) * SEGMENT_SECONDS - duration) < SEGMENT_SECONDS


@given(loops, ad_break_lists())
def test_every_ad_break_is_announced_exactly_once(loop: int, ad_breaks: tuple[AdBreak, ...]) -> None:
    """In every playlist that lists a segment of its slate there is one EXT-X-DATERANGE of it, always the same."""
    found: dict[str, set[str]] = {ad_break.ad_break_id: set() for ad_break in ad_breaks}
    for ad_break in ad_breaks:
        for newest in (ad_break.first, ad_break.end - 1, ad_break.first + WINDOW_SEGMENTS - 1):
            window = live_window((newest + 1) * SEGMENT_SECONDS, STARTED_AT, loop, ad_breaks)
            listed = [other for other in ad_breaks if set(numbers(window)) & set(range(other.first, other.end))]
            announced = DATE_RANGE.findall(media_playlist.render(window, ""))
            assert sorted(ad_break_id for _, ad_break_id in announced) == sorted(other.ad_break_id for other in listed)
            for date_range_id, ad_break_id in announced:
                found[ad_break_id].add(date_range_id)
    assert {len(date_range_ids) for date_range_ids in found.values()} <= {1}
    assert len(set().union(*found.values())) == len(ad_breaks)


@given(starts, starts, st.integers(1, 300), st.integers(1, 300))
def test_ad_breaks_overlap_if_they_share_time_or_a_segment(one: int, other: int, length: int, width: int) -> None:
    a, b = AdBreak("a", one, length), AdBreak("b", other, width)
    shares_time = set(range(one, one + length)) & set(range(other, other + width))
    shares_segment = set(range(a.first, a.end)) & set(range(b.first, b.end))
    assert a.overlaps(b) is b.overlaps(a) is bool(shares_time or shares_segment)
    if shares_segment and not shares_time:
        earlier, later = sorted((a, b), key=lambda ad_break: ad_break.start)
        assert (earlier.duration, earlier.start % 2, later.start) == (1, 1, earlier.start + 1)


@given(ad_break_lists(), st.floats(0, 1000), st.integers(0, 600))
def test_an_ad_break_that_is_added_before_it_begins_changes_nothing_that_was_listed(
    ad_breaks: tuple[AdBreak, ...], seconds: float, later: int
) -> None:
    """It is added with the whole second of the present as its earliest start."""
    now = STARTED_AT + 900 + seconds
    added = AdBreak("added", int(now) + later, 30)
    before, after = (live_window(now, STARTED_AT, 30, breaks) for breaks in (ad_breaks, (*ad_breaks, added)))
    if not any(ad_break.start < added.start + 30 and added.start < ad_break.start + 90 for ad_break in ad_breaks):
        assert before == after


@given(starts, st.integers(0, DAYS))
def test_segments_can_be_loaded_for_a_while_after_they_were_listed(started_at: int, seconds: int) -> None:
    now = started_at + seconds
    window = live_window(now, started_at, 1)
    first, last = numbers(window)[0], numbers(window)[-1]
    retained = min(RETAINED_SEGMENTS, window.media_sequence)
    assert all(is_available(number, now, started_at) for number in range(first - retained, last + 1))
    assert not is_available(first - retained - 1, now, started_at)
    assert not is_available(last + 1, now, started_at)


def test_a_clock_that_is_behind_the_start_of_the_stream_shows_its_first_window() -> None:
    assert live_window(STARTED_AT - 5, STARTED_AT, 1) == live_window(STARTED_AT, STARTED_AT, 1)
