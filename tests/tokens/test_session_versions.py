"""A viewer restriction packs into one integer, and a viewer of a channel into one digest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.tokens.denylist import (
    DIGEST_BYTES,
    MAX_SESSION_VERSION,
    VERSION_STEP_SECONDS,
    ViewerRestriction,
    expires_at,
    pack,
    unpack,
    viewer_digest,
)

seconds = st.integers(0, MAX_SESSION_VERSION)


leads = st.integers(0, 100_000)


@given(until=seconds, minimum=seconds, lead=leads)
def test_unpacking_returns_the_packed_restriction(until: int, minimum: int, lead: int) -> None:
    packed = pack(ViewerRestriction(until, minimum, lead))
    assert packed.bit_length() <= 96
    assert unpack(packed) == ViewerRestriction(until, minimum, lead)
    assert expires_at(packed) == ViewerRestriction(until, minimum, lead).expires_at
    assert expires_at(pack(ViewerRestriction(until, minimum))) == max(until, minimum)


@pytest.mark.slow
@given(minimum=st.integers(100_000, MAX_SESSION_VERSION), lead=leads, offset=st.integers(-10, 200_000))
def test_a_minimum_expires_when_the_clock_has_caught_up(minimum: int, lead: int, offset: int) -> None:
    restriction = ViewerRestriction(0, minimum, lead)
    second = restriction.minimum_set_at + offset
    lowest = restriction.lowest_version(second)
    assert minimum <= lowest <= restriction.lowest_version(second + 1)
    assert second < restriction.expires_at or lowest <= second
    last_step = restriction.expires_at - VERSION_STEP_SECONDS
    assert restriction.expires_at == minimum or restriction.lowest_version(last_step) > last_step


def test_an_unknown_viewer_has_no_restriction() -> None:
    assert unpack(0) == ViewerRestriction() == (0, 0, 0)


@pytest.mark.slow
@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_pairs_of_channel_and_viewer_never_share_a_digest(one: tuple[str, str], other: tuple[str, str]) -> None:
    """`ab` in `c` is not `b` in `ca`."""
    assert (viewer_digest(*one) == viewer_digest(*other)) is (one == other)
    moved = (one[0] + one[1][:1], one[1][1:])
    assert (viewer_digest(*one) == viewer_digest(*moved)) is (one == moved)


def test_a_digest_has_sixteen_bytes_and_never_changes() -> None:
    """Digests are stored: a change would lose every denial."""
    assert len(viewer_digest("c", "v")) == DIGEST_BYTES == 16
    assert viewer_digest("c", "v").hex() == "956805420f8276c67d97688ffdd4d47b"


def test_a_lone_surrogate_is_hashed() -> None:
    assert viewer_digest("*", "\ud800") != viewer_digest("*", "\ud801")
