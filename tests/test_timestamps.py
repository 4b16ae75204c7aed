"""Timestamps in JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tokensvc.timestamps import rfc3339, unix_seconds


@pytest.mark.slow
@given(st.integers(0, 32_503_680_000))
def test_a_timestamp_is_rfc_3339_in_utc_with_whole_seconds(seconds: int) -> None:
    text = rfc3339(seconds)
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC)
    assert text.endswith("Z")
    assert len(text) == 20


def test_the_format_is_the_documented_one() -> None:
    assert rfc3339(1_800_000_000) == "2027-01-15T08:00:00Z"


@given(st.integers(0, 32_503_680_000))
def test_a_timestamp_is_parsed_back_to_its_seconds(seconds: int) -> None:
    assert unix_seconds(rfc3339(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-15T08:00:00Z",
        "2027-01-15t08:00:00z",
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:00.999999999Z",
        "2027-01-15T09:30:00+01:30",
        "2027-01-14 23:00:00-09:00",
    ],
)
def test_every_form_of_rfc_3339_is_parsed_to_the_whole_second(text: str) -> None:
    assert unix_seconds(text) == 1_800_000_000


NOT_TIMESTAMPS = [
    "",
    "2027-01-15",
    "2027-01-15T08:00:00",
    "2027-W02-5T08:00:00Z",
    "20270115T080000Z",
    "2027-02-30T08:00:00Z",
    "2027-01-15T24:00:00Z",
    "2027-01-15T08:00:00+99:00",
    " 2027-01-15T08:00:00Z",
    "0000-01-01T00:00:00Z",
    1.8e9,
    None,
]


@pytest.mark.parametrize("text", NOT_TIMESTAMPS)
def test_anything_else_is_rejected_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="2026-11-21T10:00:00Z"):
        unix_seconds(text)


@pytest.mark.slow
@given(st.datetimes(timezones=st.timezones()))
def test_any_date_in_any_time_zone_is_parsed(at: datetime) -> None:
    """RFC 3339 cannot express offsets with odd seconds, from before there were time zones."""
    assume(at.utcoffset() is not None and at.utcoffset().total_seconds() % 60 == 0)  # type: ignore[union-attr]
    assert unix_seconds(at.isoformat(timespec="microseconds")) == at.replace(microsecond=0).timestamp()
