"""Playback sessions as they are stored: what a session may play, and the table of sessions of a transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from tokensvc.aws.arn import AccountRegion, Arn

IDLE_SECONDS = 60
"""How long after its last request a session ends (API reference, Stream, `viewerCount`: a view disappears within one
minute of its end)."""


class SessionTerms(NamedTuple):
    """What was decided at the start of playback. A session keeps it until its end."""

    channel: Arn
    stream_id: str
    viewer_id: str | None
    session_version: int
    maximum_resolution: str | None
    origins: tuple[str, ...] | None
    """The origins that the token or the restriction policy allows; None if it names none."""
    strict_origin: bool
    ads_opt_out: bool
    media_id: str

    def __repr__(self) -> str:
        """Without the viewer."""
        return f"SessionTerms(channel={self.channel}, stream_id={self.stream_id})"


class SessionPosition(NamedTuple):
    """The position of a session in the list of sessions, which is in descending order of positions."""

    started_at: float
    session_id: str

    def __repr__(self) -> str:
        """Without the id."""
        return f"SessionPosition(started_at={self.started_at})"


class PlaybackSession(NamedTuple):
    """One session. Its id is a secret: anyone who knows it may play."""

    session_id: str
    terms: SessionTerms
    started_at: float
    last_seen: float
    """When its player last got something, late by a few seconds."""
    is_open: bool = True
    """Whether nothing has ended it. An open session that is idle has ended too."""

    def __repr__(self) -> str:
        """Without the id."""
        return f"PlaybackSession(terms={self.terms}, started_at={self.started_at}, is_open={self.is_open})"

    @property
    def position(self) -> SessionPosition:
        """Its position in the list of sessions."""
        return SessionPosition(self.started_at, self.session_id)

    def is_active(self, now: float) -> bool:
        """Whether the session has neither been ended nor become idle."""
        return self.is_open and self.last_seen > now - IDLE_SECONDS


class SessionTable(Protocol):
    """The sessions of all accounts and regions, within one transaction."""

    def insert(self, session: PlaybackSession) -> None: ...

    def get(self, session_id: str) -> PlaybackSession | None:
        """A session, open or not; one that has ended is deleted some time later."""
        ...

    def set_last_seen(self, seen: Iterable[tuple[str, float]]) -> None:
        """Store when sessions (by id) were last seen. A time before the stored one changes nothing."""
        ...

    def count_active(self, stream_id: str, now: float) -> int:
        """The number of active sessions of a stream."""
        ...

    def count_open(self, account_region: AccountRegion) -> int:
        """The number of open sessions, idle ones included. Takes the same time for any number."""
        ...

    def active(
        self, now: float, limit: int, stream_id: str | None = None, after: SessionPosition | None = None
    ) -> list[PlaybackSession]:
        """The active sessions of a stream, or of all, newest first, from the one after a position on."""
        ...

    def end(self, session_id: str) -> None: ...

    def end_all_of(self, stream_id: str) -> None:
        """End the sessions of a stream."""
        ...

    def end_idle(self, now: float, limit: int) -> None:
        """End sessions that are idle, at most `limit` of them, and delete old ones that have ended."""
        ...
