"""The session that a player continues without its token, as a signed cookie.

Invariants
- A session is what a token started: its channel, viewer, session version, origins and signing key. It carries what the
  rules need that hold after the start, and nothing that could start playback anew, so a single-use token stays spent.
- It is signed with a key derived from the deployment's subject key, so every worker of the deployment reads it and
  nobody else makes one. A changed byte, another deployment's key or another channel makes it no session.
- It ends when nothing has been requested for IDLE_SECONDS, and MAX_SECONDS after its start in any case: a viewer
  without a viewer id cannot be revoked. The token's `exp` does not end it, as on IVS (user guide, "Generate and Sign
  Playback Tokens": `exp` is the latest time at which playback may be started).
- INFERRED: A session that `/authorize` has started lasts twelve hours at most. IVS documents no longest session.
- Anyone who holds the cookie can read its payload, as with the token; it is not for logs.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import orjson

from tokensvc.jose.es384 import base64url_decode, base64url_encode
from tokensvc.tokens import claims as c

IDLE_SECONDS = 600
"""How long a session lasts without a request: a player that is paused for longer starts anew."""
RENEWAL_SECONDS = 60
"""The age at which a session's cookie is replaced by one that lasts longer."""
MAX_SECONDS = 12 * 3600
MAX_CHARS = 4000
"""Browsers store cookies of 4,096 bytes (RFC 6265, section 6.1). A token has 2,000 bytes at most, a session less."""
RESTRICTION_RETENTION_SECONDS = MAX_SECONDS + c.TEN_MINUTES_SECONDS
"""How long a viewer's minimum session version matters once the clock has reached it: a token of a lower version may
have started a session up to ten minutes after it was issued."""
_PURPOSE = b"tokensvc playback session 2"
"""Not the beginning of a message that viewer ids are made of: its first four bytes would be a length of 1.9 GB."""
_DIGEST_BYTES = 16


class PlaybackSession(NamedTuple):
    """What is known of a viewer that has started playback."""

    channel: str
    viewer_id: str | None
    version: int
    """The token's session version, or the default."""
    origins: str | None
    """The token's list of origins as the claim has it; None if every origin is allowed."""
    is_strict: bool
    """Whether the player's origin is enforced for every request."""
    token_digest: str
    """Identifies the token that started the session."""
    key_id: str
    """The id of the key that signed it."""
    started_at: int
    issued_at: int
    """When this cookie was made, in Unix seconds."""

    def __repr__(self) -> str:
        return "PlaybackSession()"

    @property
    def expires_at(self) -> int:
        """The second from which on the session has ended, unless it is renewed."""
        return min(self.issued_at + IDLE_SECONDS, self.started_at + MAX_SECONDS)

    def renewed(self, now: float) -> PlaybackSession | None:
        """The session with a new cookie; None while the present one is new enough, or the longest time has come."""
        if now < self.issued_at + RENEWAL_SECONDS or self.expires_at == self.started_at + MAX_SECONDS:
            return None
        return self._replace(issued_at=int(now))


def started_session(token: str, key_id: str, claims: dict[str, object], now: float) -> PlaybackSession:
    """The session that this token starts now. The claims are those of an allowed token, `key_id` is of the key that
    signed it."""
    viewer_id, version, origins = (claims.get(n) for n in (c.VIEWER_ID, c.VIEWER_SESSION_VERSION, c.ALLOW_ORIGIN))
    return PlaybackSession(
        channel=str(claims[c.CHANNEL_ARN]),
        viewer_id=None if viewer_id is None else str(viewer_id),
        version=version if isinstance(version, int) else c.DEFAULT_VIEWER_SESSION_VERSION,
        origins=None if origins is None else str(origins),
        is_strict=claims.get(c.STRICT_ORIGIN) is True,
        token_digest=token_digest(token),
        key_id=key_id,
        started_at=int(now),
        issued_at=int(now),
    )


def token_digest(token: str) -> str:
    """Identifies a token in the session that it starts."""
    digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()[:_DIGEST_BYTES]
    return base64url_encode(digest).decode("ascii")


def encode_session(session: PlaybackSession, subject_key: bytes) -> str:
    """The session as a cookie's value."""
    payload = base64url_encode(orjson.dumps([*session]))
    return b".".join([payload, base64url_encode(_mac(payload, subject_key))]).decode("ascii")


def read_session(value: str, channel: str, subject_key: bytes, now: float) -> PlaybackSession | None:
    """The session of this channel that a cookie's value stands for; None if it is invalid, or the session has ended."""
    if not value.isascii() or len(value) > MAX_CHARS:
        return None
    payload, _, mac = value.encode().rpartition(b".")
    try:
        if not hmac.compare_digest(base64url_decode(mac), _mac(payload, subject_key)):
            return None
    except ValueError:
        return None
    session = PlaybackSession(*orjson.loads(base64url_decode(payload)))
    return session if session.channel == channel and now < session.expires_at else None


def _mac(payload: bytes, subject_key: bytes) -> bytes:
    """RFC 2104, with a key of its own for this purpose."""
    return hmac.digest(hmac.digest(subject_key, _PURPOSE, hashlib.sha256), payload, hashlib.sha256)
