"""Instants in JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tokensvc.core.instant import rfc3339


@given(st.integers(0, 32_503_680_000))
def test_an_instant_is_rfc_3339_in_utc_with_whole_seconds(seconds: int) -> None:
    text = rfc3339(seconds)
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC)
    assert text.endswith("Z")
    assert len(text) == 20


def test_the_form_is_the_one_that_the_interface_shows() -> None:
    assert rfc3339(1_800_000_000) == "2027-01-15T08:00:00Z"
