"""Playback sessions: one begins with each start of playback that is answered with a playlist.

Invariants
- The URLs of variant playlists and segments are bound to a session (IVS user guide, "Session Protection"): its id is
  random and part of them, and nothing else lets a player in.
- A session ends when it is idle, with its stream, or by management.
- INFERRED: A session ends after a minute without requests, and its player has to start anew; the API reference says
  only that its view disappears within that time.
- Quota: concurrent views per account and region ("Service Quotas"); one more is answered with 429, and is
  emitted as a limit breach.
- INFERRED: Every playback session is one concurrent view from its start to its end.
- Sessions are in the store, so processes that share it agree. When a session was last seen is collected in memory and
  stored by the first request after TOUCH_SECONDS, in one transaction for all sessions.
- A start and that request delete old timed metadata too, which would otherwise stay until more is put.
"""

from __future__ import annotations

import sys
import threading

from tokensvc.local_ivs.id_generators import ALPHANUMERIC, RandomString
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.resource_store import ResourceStore, ResourceTransaction
from tokensvc.local_ivs.session_store import PlaybackSession, SessionPosition, SessionTerms
from tokensvc.local_ivs.streams import events, timed_metadata
from tokensvc.local_ivs.transaction import TxContext

SESSION_ID_CHARS = 32
MAX_CONCURRENT_VIEWS = 15_000
TOUCH_SECONDS = 5
MAX_LISTED_SESSIONS = 1000
CLEANUP_SECONDS = 1
"""The first start after this time cleans up sessions that have ended."""
_CLEANUP_BATCH_SIZE = 1000


class Sessions:
    """Starts, lists and ends sessions. Thread-safe."""

    def __init__(
        self, resources: ResourceStore, random_string: RandomString, max_views: int = MAX_CONCURRENT_VIEWS
    ) -> None:
        self._resources = resources
        self._random_string = random_string
        self._max_views = max_views
        self._seen: dict[str, float] = {}
        """Session id -> when it was last seen, as far as that is not stored."""
        self._stored_at = self._cleaned_up_at = float("-inf")
        self._lock = threading.Lock()

    def start(self, transaction: ResourceTransaction, terms: SessionTerms, now: float) -> str | None:
        """Start a session in a writing transaction and return its id.

        Returns None if the quota of concurrent views is reached, and emits that: the transaction must be committed.
        """
        table, account_region = transaction.sessions, terms.channel.account_region
        if abs(now - self._cleaned_up_at) >= CLEANUP_SECONDS:
            self._cleaned_up_at = now
            table.end_idle(now, _CLEANUP_BATCH_SIZE)
            timed_metadata.delete_old(transaction, account_region, now)
        views = table.count_open(account_region)
        if views >= self._max_views:
            table.end_idle(now, sys.maxsize)  # those of other accounts may have been idle for longer
            views = table.count_open(account_region)
        if views >= self._max_views:
            breach = {"limit_name": "Concurrent Viewers", "limit_value": self._max_views}
            breach |= {"exceeded_by": views + 1 - self._max_views, "limit_unit": "viewers"}
            context = TxContext(transaction, now, self._random_string)
            events.append(context, account_region, events.LIMIT_BREACH, "", breach)
            return None
        session_id = self._random_string(ALPHANUMERIC, SESSION_ID_CHARS)
        table.insert(PlaybackSession(session_id, terms, now, now))
        return session_id

    def touch(self, session_id: str, now: float) -> None:
        """Record a successful request of a session."""
        with self._lock:
            self._seen[session_id] = now
            if abs(now - self._stored_at) >= TOUCH_SECONDS:  # the clock of tests can be set back
                seen, self._seen, self._stored_at = self._seen, {}, now
            else:
                return
        with self._resources.begin(write=True) as transaction:
            transaction.sessions.set_last_seen(seen.items())
            if session := transaction.sessions.get(session_id):
                timed_metadata.delete_old(transaction, session.terms.channel.account_region, now)

    def active(
        self,
        now: float,
        limit: int = MAX_LISTED_SESSIONS,
        channel_arn: str | None = None,
        after: SessionPosition | None = None,
    ) -> list[PlaybackSession]:
        """The active sessions of a channel, or of all accounts and regions, newest first, from the one after a position
        on."""
        with self._resources.begin(write=False) as transaction:
            if channel_arn is None:
                return transaction.sessions.active(now, limit, None, after)
            stream = stream_of(transaction, channel_arn)
            return transaction.sessions.active(now, limit, stream.body["streamId"], after) if stream is not None else []

    def end(self, session_id: str, now: float) -> bool:
        """End a session. Returns whether there was an active one with this id."""
        with self._resources.begin(write=True) as transaction:
            session = transaction.sessions.get(session_id)
            transaction.sessions.end(session_id)
            return session is not None and session.is_active(now)
