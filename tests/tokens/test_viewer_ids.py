"""Viewer ids: as long as IVS allows, stable, and never shared by two subjects."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.tokens.claims import check_viewer_id
from tokensvc.tokens.viewer_ids import viewer_id

pytestmark = pytest.mark.slow

KEY = bytes(range(32))
PAIRS = st.tuples(st.text(max_size=8), st.text(max_size=8))


@given(st.text(), st.text())
def test_a_viewer_id_has_exactly_the_40_characters_that_ivs_allows(namespace: str, subject: str) -> None:
    made = viewer_id(KEY, namespace, subject)
    assert len(check_viewer_id(made)) == 40
    assert len(base64.urlsafe_b64decode(made)) == 30
    assert made == viewer_id(KEY, namespace, subject)


@given(PAIRS, PAIRS)
def test_two_pairs_never_share_a_viewer_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (viewer_id(KEY, *one) == viewer_id(KEY, *other)) == (one == other)


@given(st.text(min_size=1, max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_moving_the_boundary_between_namespace_and_subject_gives_another_viewer(
    text: str, one: int, other: int
) -> None:
    """Mere concatenation would give both pairs the same input."""
    same = text[:one] == text[:other]
    assert (viewer_id(KEY, text[:one], text[one:]) == viewer_id(KEY, text[:other], text[other:])) == same


def test_another_subject_key_gives_another_viewer_id() -> None:
    assert viewer_id(KEY, "default", "ann") != viewer_id(bytes(32), "default", "ann")


@given(st.text(min_size=4))
def test_a_viewer_id_does_not_reveal_its_subject(subject: str) -> None:
    assert subject not in viewer_id(KEY, "default", subject)


def test_the_derivation_of_viewer_ids_never_changes() -> None:
    """Revocations name viewer ids, so the derivation must never change: it is repeated here."""
    message = (7).to_bytes(4, "big") + b"default" + "jürgen@example.com".encode()
    expected = base64.urlsafe_b64encode(hmac.new(KEY, message, hashlib.sha256).digest()[:30]).decode()
    assert viewer_id(KEY, "default", "jürgen@example.com") == expected == "V36OFUoIDPZLq7AoBfZqYgfCrym7kkkCYYuSGR-L"
