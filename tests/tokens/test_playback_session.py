"""The signed session: it returns what went in, and anything else is rejected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL, NOW, OTHER_CHANNEL, SUBJECT_KEY
from tokensvc.jose.es384 import base64url_encode
from tokensvc.tokens import claims as c
from tokensvc.tokens.playback_session import (
    IDLE_SECONDS,
    MAX_CHARS,
    MAX_SECONDS,
    RENEWAL_SECONDS,
    PlaybackSession,
    encode_session,
    read_session,
    started_session,
)
from tokensvc.tokens.viewer_ids import viewer_id

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SESSION = started_session("a.b.c", "k1", {c.CHANNEL_ARN: str(CHANNEL)}, NOW)
COOKIE = encode_session(SESSION, SUBJECT_KEY)


@given(viewer=TEXT | st.none(), version=st.integers(-(2**63), 2**63 - 1) | st.none(), origins=TEXT | st.none())
def test_a_session_that_is_read_is_the_one_that_was_encoded(
    viewer: str | None, version: int | None, origins: str | None
) -> None:
    claims: dict[str, Any] = {
        c.CHANNEL_ARN: str(CHANNEL),
        c.VIEWER_ID: viewer,
        c.VIEWER_SESSION_VERSION: version,
        c.ALLOW_ORIGIN: origins,
        c.STRICT_ORIGIN: True,
    }
    session = started_session(
        "a.b.c", "k1", {name: value for name, value in claims.items() if value is not None}, NOW + 0.9
    )
    assert (session.viewer_id, session.version, session.origins) == (viewer, version or 0, origins)
    assert (session.is_strict, session.started_at) == (True, NOW)
    assert read_session(encode_session(session, SUBJECT_KEY), str(CHANNEL), SUBJECT_KEY, NOW) == session


def test_the_longest_session_fits_into_a_cookie() -> None:
    """A whole token has 2,000 bytes, in base64url: its claims have 1,400."""
    session = SESSION._replace(viewer_id="\U0001f600" * 40, origins="x" * 1400)
    assert len(encode_session(session, SUBJECT_KEY)) < MAX_CHARS - 500


@given(st.integers(0, len(COOKIE) - 1), st.characters(min_codepoint=33, max_codepoint=255))
def test_a_changed_character_makes_it_no_session(position: int, character: str) -> None:
    changed = COOKIE[:position] + character + COOKIE[position + 1 :]
    found = read_session(changed, str(CHANNEL), SUBJECT_KEY, NOW)
    assert found == (SESSION if changed == COOKIE else None)


@given(st.text(max_size=100))
def test_any_other_text_is_rejected(text: str) -> None:
    assert read_session(text, str(CHANNEL), SUBJECT_KEY, NOW) is None


@pytest.mark.parametrize("key", [b"", bytes(32), SUBJECT_KEY[:-1]])
def test_another_deployments_session_is_rejected(key: bytes) -> None:
    assert read_session(COOKIE, str(CHANNEL), key, NOW) is None


def test_another_channels_session_is_rejected() -> None:
    assert read_session(COOKIE, str(OTHER_CHANNEL), SUBJECT_KEY, NOW) is None


def test_nothing_else_that_the_subject_key_signs_is_a_session() -> None:
    payload = base64url_encode(b"[]").decode()
    assert read_session(f"{payload}.{viewer_id(SUBJECT_KEY, '', payload)}", str(CHANNEL), SUBJECT_KEY, NOW) is None


def test_a_session_ends_when_it_is_idle() -> None:
    assert read_session(COOKIE, str(CHANNEL), SUBJECT_KEY, NOW + IDLE_SECONDS - 1) == SESSION
    assert read_session(COOKIE, str(CHANNEL), SUBJECT_KEY, NOW + IDLE_SECONDS) is None


def test_a_renewed_session_lasts_longer_but_never_longer_than_the_longest() -> None:
    assert SESSION.renewed(NOW + RENEWAL_SECONDS - 1) is None
    renewed = SESSION.renewed(NOW + RENEWAL_SECONDS)
    assert renewed is not None
    assert renewed.expires_at == NOW + RENEWAL_SECONDS + IDLE_SECONDS
    assert renewed._replace(issued_at=SESSION.issued_at) == SESSION
    last = SESSION._replace(issued_at=NOW + MAX_SECONDS - IDLE_SECONDS)
    assert last.expires_at == NOW + MAX_SECONDS
    assert last.renewed(NOW + MAX_SECONDS - 1) is None


def test_a_session_shows_nothing_of_itself() -> None:
    assert repr(PlaybackSession(*SESSION)) == "PlaybackSession()"
