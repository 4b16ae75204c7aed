"""A standing is one integer, and a viewer of a channel one digest."""

from __future__ import annotations

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
def test_a_standing_comes_back_from_its_integer(until: int, minimum: int, lead: int) -> None:
    packed = pack(ViewerRestriction(until, minimum, lead))
    assert packed.bit_length() <= 96
    assert unpack(packed) == ViewerRestriction(until, minimum, lead)
    assert expires_at(packed) == ViewerRestriction(until, minimum, lead).expires_at
    assert expires_at(pack(ViewerRestriction(until, minimum))) == max(until, minimum)


@given(minimum=st.integers(100_000, MAX_SESSION_VERSION), lead=leads, offset=st.integers(-10, 200_000))
def test_a_minimum_is_over_when_the_clock_has_caught_up_with_the_versions_above_it(
    minimum: int, lead: int, offset: int
) -> None:
    standing = ViewerRestriction(0, minimum, lead)
    second = standing.minimum_set_at + offset
    lowest = standing.lowest_version(second)
    assert minimum <= lowest <= standing.lowest_version(second + 1)
    assert second < standing.expires_at or lowest <= second
    assert standing.expires_at == minimum or standing.lowest_version(standing.expires_at - VERSION_STEP_SECONDS) > (
        standing.expires_at - VERSION_STEP_SECONDS
    )


def test_nothing_stands_against_a_viewer_that_is_not_known() -> None:
    assert unpack(0) == ViewerRestriction() == (0, 0, 0)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_viewers_of_two_channels_are_never_spelled_alike(one: tuple[str, str], other: tuple[str, str]) -> None:
    """`ab` in `c` is not `b` in `ca`."""
    assert (viewer_digest(*one) == viewer_digest(*other)) is (one == other)
    moved = (one[0] + one[1][:1], one[1][1:])
    assert (viewer_digest(*one) == viewer_digest(*moved)) is (one == moved)


def test_a_digest_has_sixteen_bytes_and_stays_as_it_is() -> None:
    """It is kept in stores: a change would forget every denial."""
    assert len(viewer_digest("c", "v")) == DIGEST_BYTES == 16
    assert viewer_digest("c", "v").hex() == "956805420f8276c67d97688ffdd4d47b"


def test_half_a_character_is_hashed_like_any_other() -> None:
    assert viewer_digest("*", "\ud800") != viewer_digest("*", "\ud801")
