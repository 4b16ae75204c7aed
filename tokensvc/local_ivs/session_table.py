"""The table of playback sessions in the local IVS's SQLite database.

Invariants
- The number of open sessions of an account and region has a row of its own, changed in the same transaction as the
  sessions, so that the quota of concurrent views costs the same for any number of views.
- A session that has ended is stored for RETENTION_SECONDS after it was last seen, so that later requests of its player
  get the error of what ended it: a 404 for the end of its stream, a 403 that names the revocation of its viewer.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion, Arn, parse_arn
from tokensvc.local_ivs.session_store import IDLE_SECONDS, PlaybackSession, SessionPosition, SessionTerms

RETENTION_SECONDS = 600
_MAX_CACHED_ARNS = 1024


def define_tables(metadata: sa.MetaData) -> None:
    """Add the tables of sessions to a database's description."""
    sa.Table(
        "local_ivs_sessions",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("stream_id", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("last_seen", sa.Float, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Index("local_ivs_sessions_by_stream", "stream_id", "is_open", "last_seen"),
        sa.Index("local_ivs_sessions_by_time", "is_open", "last_seen"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "local_ivs_session_counts",
        metadata,
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("open", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )


class SqliteSessionTable:
    """`local_ivs.session_store.SessionTable` on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert(self, session: PlaybackSession) -> None:
        terms, account_region = session.terms, session.terms.channel.account_region
        encoded = orjson.dumps([str(terms.channel), *terms[1:]]).decode()
        self._connection.execute(
            "INSERT INTO local_ivs_sessions (id, account, region, stream_id, terms, started_at, last_seen, is_open)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
            (session.session_id, *account_region, terms.stream_id, encoded, session.started_at, session.last_seen),
        )
        self._connection.execute(
            "INSERT INTO local_ivs_session_counts (account, region, open) VALUES (?, ?, 1)"
            " ON CONFLICT (account, region) DO UPDATE SET open = open + 1",
            account_region,
        )

    def get(self, session_id: str) -> PlaybackSession | None:
        row = self._connection.execute(f"{_SELECT} WHERE id = ?", (session_id,)).fetchone()
        return _session(row) if row else None

    def set_last_seen(self, seen: Iterable[tuple[str, float]]) -> None:
        self._connection.executemany(
            "UPDATE local_ivs_sessions SET last_seen = ? WHERE id = ? AND last_seen < ?",
            [(at, session_id, at) for session_id, at in seen],
        )

    def count_active(self, stream_id: str, now: float) -> int:
        query = "SELECT count(*) FROM local_ivs_sessions WHERE stream_id = ? AND is_open = 1 AND last_seen > ?"
        return int(self._connection.execute(query, (stream_id, now - IDLE_SECONDS)).fetchone()[0])

    def count_open(self, account_region: AccountRegion) -> int:
        query = "SELECT open FROM local_ivs_session_counts WHERE account = ? AND region = ?"
        row = self._connection.execute(query, account_region).fetchone()
        return int(row[0]) if row else 0

    def active(
        self, now: float, limit: int, stream_id: str | None = None, after: SessionPosition | None = None
    ) -> list[PlaybackSession]:
        conditions = ["is_open = 1", "last_seen > ?"]
        values: list[Any] = [now - IDLE_SECONDS]
        if stream_id is not None:
            conditions.append("stream_id = ?")
            values.append(stream_id)
        if after is not None:
            conditions.append("(started_at, id) < (?, ?)")
            values += after
        query = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY started_at DESC, id DESC LIMIT ?"
        return [_session(row) for row in self._connection.execute(query, (*values, limit))]

    def end(self, session_id: str) -> None:
        self._end("id = ?", session_id)

    def end_all_of(self, stream_id: str) -> None:
        self._end("stream_id = ?", stream_id)

    def end_idle(self, now: float, limit: int) -> None:
        oldest = "SELECT id FROM local_ivs_sessions WHERE is_open = ? AND last_seen <= ? ORDER BY last_seen LIMIT ?"
        self._end(f"id IN ({oldest})", 1, now - IDLE_SECONDS, limit)
        delete = f"DELETE FROM local_ivs_sessions WHERE id IN ({oldest})"  # noqa: S608 - no values
        self._connection.execute(delete, (0, now - RETENTION_SECONDS, limit))

    def _end(self, where: str, *values: Any) -> None:
        # With the plus sign SQLite does not search by is_open, which would read all open sessions.
        query = f"UPDATE local_ivs_sessions SET is_open = 0 WHERE +is_open = 1 AND {where} RETURNING account, region"  # noqa: S608
        ended = Counter(self._connection.execute(query, values).fetchall())
        for account_region, number in ended.items():
            self._connection.execute(
                "UPDATE local_ivs_session_counts SET open = open - ? WHERE account = ? AND region = ?",
                (number, *account_region),
            )


_SELECT = "SELECT id, terms, started_at, last_seen, is_open FROM local_ivs_sessions"


def _session(row: tuple[str, str, float, float, int]) -> PlaybackSession:
    session_id, encoded, started_at, last_seen, is_open = row
    channel, *terms = orjson.loads(encoded)
    decoded = SessionTerms(_parse_arn(channel), *terms)
    if decoded.origins is not None:
        decoded = decoded._replace(origins=tuple(decoded.origins))
    return PlaybackSession(session_id, decoded, started_at, last_seen, bool(is_open))


@lru_cache(maxsize=_MAX_CACHED_ARNS)
def _parse_arn(text: str) -> Arn:
    return parse_arn(text)
