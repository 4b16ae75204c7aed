"""`ChannelStore`: what IVS last reported of each channel, with the change number of the last write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.aws.arn import parse_arn
from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.storage import changes
from tokensvc.storage.dialect import chunked, insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, flag, instant, integer, raw, text
from tokensvc.storage.schema import channels
from tokensvc.tokens.channels import ChannelRecord

_COLUMNS = tuple(channels.c[field] for field in ChannelRecord._fields)


class SqlChannelStore:
    """See `tokensvc.tokens.channels`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(self, rows: list[ChannelRecord]) -> int:
        reported = {row.arn: row for row in sorted(rows, key=lambda row: row.checked_at)}
        with write_transaction(self._engine) as connection:
            number = changes.lock_version(connection, "channels")
            known = {row.arn: row for row in _get(connection, list(reported))}
            changed = [row for row in reported.values() if _is_change(row, known.get(row.arn))]
            unchanged = [row for row in reported.values() if row.arn in known and not _is_change(row, known[row.arn])]
            if changed:
                number = changes.bump_version(connection, "channels")
                written = insert(connection, channels)
                connection.execute(
                    written.on_conflict_do_update(
                        index_elements=[channels.c.arn],
                        set_={c.name: written.excluded[c.name] for c in _COLUMNS if c is not channels.c.arn},
                    ),
                    [{**row._asdict(), "version": number} for row in changed],
                )
            if unchanged:
                confirmed = sa.update(channels).where(channels.c.arn == sa.bindparam("which"))
                connection.execute(
                    confirmed.where(channels.c.checked_at < sa.bindparam("at")).values(checked_at=sa.bindparam("at")),
                    [{"which": row.arn, "at": row.checked_at} for row in unchanged],
                )
            return number

    def changed_since(self, position: Position, limit: int) -> ChangePage[ChannelRecord]:
        newer = channels.c.version > position.number
        # The page includes every row of its last version: the next page starts after that version.
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
        query = (
            sa.select(channels.c.arn)
            .where(channels.c.playback_url.is_not(None), channels.c.checked_at < checked_before)
            .where(*(channels.c.arn.not_like(f"arn:aws:ivs:{region}:%") for region in not_in))
            .order_by(channels.c.checked_at, channels.c.arn)
            .limit(limit)
        )
        with read_transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def prune(self, version: int, checked_before: datetime, limit: int) -> int:
        c = channels.c
        missing = sa.and_(c.playback_url.is_(None), c.version <= version, c.checked_at < checked_before)
        batch = sa.select(c.arn).where(missing).limit(limit)
        with write_transaction(self._engine) as connection:
            return connection.execute(sa.delete(channels).where(c.arn.in_(batch), missing)).rowcount


def _is_change(reported: ChannelRecord, known: ChannelRecord | None) -> bool:
    """Whether this differs from the stored record and is not older: several machines ask IVS, and responses may arrive
    out of order. The absence of a channel that is not stored changes nothing."""
    if known is None:
        return reported.playback_url is not None
    differs = (reported.playback_url, reported.authorized) != (known.playback_url, known.authorized)
    return differs and reported.checked_at >= known.checked_at


def _get(connection: sa.Connection, arns: list[str]) -> list[ChannelRecord]:
    found: list[ChannelRecord] = []
    for batch in chunked(arns):
        rows, _ = _read(connection.execute(sa.select(*raw(*_COLUMNS)).where(channels.c.arn.in_(batch))).all())
        found += rows
    return found


def _read(rows: Sequence[sa.Row[Any]]) -> tuple[list[ChannelRecord], dict[str, str]]:
    """The rows that can be read, and by ARN the reason why the others cannot.

    A channel whose row is left out counts as unknown: IVS is asked again, and its response replaces the row.
    """
    found, damaged = [], {}
    for row in rows:
        try:
            arn, url = str(parse_arn(text(row, "arn"), "channel")), row.playback_url and text(row, "playback_url")
            version = integer(row, "version", 0, (1 << 63) - 1)
            found.append(ChannelRecord(arn, url, flag(row, "authorized"), instant(row, "checked_at"), version))
        except ValueError as error:
            damaged[str(row.arn)] = str(error) if isinstance(error, UnreadableValue) else "arn is not a channel ARN"
    return found, damaged
