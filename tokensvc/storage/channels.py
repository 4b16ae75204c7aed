"""`ChannelStore`: what IVS last said of each channel, with the change number under which it was written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.aws.arn import parse_arn
from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.storage import changes
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, flag, instant, integer, raw, text
from tokensvc.storage.schema import channels
from tokensvc.tokens.channels import ChannelRecord

_COLUMNS = tuple(channels.c[field] for field in ChannelRecord._fields)
QUERY_BATCH_SIZE = 500
"""ARNs in one query; SQLite takes 32,766 parameters at most, PostgreSQL 65,535."""


class SqlChannelStore:
    """See `tokensvc.tokens.channels`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(self, rows: list[ChannelRecord]) -> int:
        said = {row.arn: row for row in sorted(rows, key=lambda row: row.checked_at)}
        with write_transaction(self._engine) as connection:
            number = changes.lock_version(connection, "channels")
            known = {row.arn: row for row in _get(connection, list(said))}
            news = [row for row in said.values() if _is_news(row, known.get(row.arn))]
            seen = [row for row in said.values() if row.arn in known and not _is_news(row, known[row.arn])]
            if news:
                number = changes.bump_version(connection, "channels")
                written = insert(connection, channels)
                connection.execute(
                    written.on_conflict_do_update(
                        index_elements=[channels.c.arn],
                        set_={c.name: written.excluded[c.name] for c in _COLUMNS if c is not channels.c.arn},
                    ),
                    [{**row._asdict(), "version": number} for row in news],
                )
            if seen:
                again = sa.update(channels).where(channels.c.arn == sa.bindparam("which"))
                connection.execute(
                    again.where(channels.c.checked_at < sa.bindparam("at")).values(checked_at=sa.bindparam("at")),
                    [{"which": row.arn, "at": row.checked_at} for row in seen],
                )
            return number

    def changed_since(self, position: Position, limit: int) -> ChangePage[ChannelRecord]:
        newer = channels.c.version > position.number
        # The version that the page ends in is given whole, or the rest of it would never be seen.
        last = sa.select(channels.c.version).where(newer).order_by(channels.c.version).limit(1).offset(limit - 1)
        until = sa.func.coalesce(last.scalar_subquery(), sa.select(sa.func.max(channels.c.version)).scalar_subquery())
        page = sa.select(*raw(*_COLUMNS)).where(newer, channels.c.version <= until)
        with read_transaction(self._engine) as connection:
            found = connection.execute(page.order_by(channels.c.version, channels.c.arn)).all()
            numbers = [row.version for row in found if type(row.version) is int]
            after = changes.position_after(connection, "channels", position, max(numbers, default=None))
        rows, damaged = _read(found)
        return ChangePage(rows, after, damaged)

    def get(self, arns: list[str]) -> list[ChannelRecord]:
        with read_transaction(self._engine) as connection:
            return _get(connection, arns)

    def due(self, checked_before: datetime, limit: int, not_in: Sequence[str] = ()) -> list[str]:
        waiting = (
            sa.select(channels.c.arn)
            .where(channels.c.playback_url.is_not(None), channels.c.checked_at < checked_before)
            .where(*(channels.c.arn.not_like(f"arn:aws:ivs:{region}:%") for region in not_in))
            .order_by(channels.c.checked_at, channels.c.arn)
            .limit(limit)
        )
        with read_transaction(self._engine) as connection:
            return list(connection.execute(waiting).scalars())

    def prune(self, version: int, checked_before: datetime, limit: int) -> int:
        c = channels.c
        gone = sa.and_(c.playback_url.is_(None), c.version <= version, c.checked_at < checked_before)
        some = sa.select(c.arn).where(gone).limit(limit)
        with write_transaction(self._engine) as connection:
            return connection.execute(sa.delete(channels).where(c.arn.in_(some), gone)).rowcount


def _is_news(said: ChannelRecord, known: ChannelRecord | None) -> bool:
    """Whether this says something else, and later, than what is known: two machines ask IVS, and answers overtake. That
    a channel is absent is no news of one that was never there."""
    if known is None:
        return said.playback_url is not None
    differs = (said.playback_url, said.authorized) != (known.playback_url, known.authorized)
    return differs and said.checked_at >= known.checked_at


def _get(connection: sa.Connection, arns: list[str]) -> list[ChannelRecord]:
    found: list[ChannelRecord] = []
    for start in range(0, len(arns), QUERY_BATCH_SIZE):
        some = channels.c.arn.in_(arns[start : start + QUERY_BATCH_SIZE])
        rows, _ = _read(connection.execute(sa.select(*raw(*_COLUMNS)).where(some)).all())
        found += rows
    return found


def _read(rows: Sequence[sa.Row[Any]]) -> tuple[list[ChannelRecord], dict[str, str]]:
    """The rows that can be read, and by ARN why the others cannot. What is left out is unknown: IVS is asked again, and
    its answer takes the row's place."""
    found, damaged = [], {}
    for row in rows:
        try:
            arn, url = str(parse_arn(text(row, "arn"), "channel")), row.playback_url and text(row, "playback_url")
            version = integer(row, "version", 0, (1 << 63) - 1)
            found.append(ChannelRecord(arn, url, flag(row, "authorized"), instant(row, "checked_at"), version))
        except ValueError as problem:
            damaged[str(row.arn)] = str(problem) if isinstance(problem, UnreadableValue) else "arn is no channel's"
    return found, damaged
