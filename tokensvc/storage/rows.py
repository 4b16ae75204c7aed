"""Reads single columns of rows that may be damaged, and reports why a value cannot be read.

Invariants
- Values are selected without conversion, as the driver returns them: SQLAlchemy's conversion would fail for the whole
  result because of one value. SQLite stores any value in any column; PostgreSQL enforces types, but not the content of
  JSON and text.
- A reason names the column and the rule, never the value.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class UnreadableValue(ValueError):
    """A value that no version of this service wrote."""


def raw(*columns: sa.Column[Any]) -> list[sa.ColumnElement[Any]]:
    """These columns, selected without conversion under their own names."""
    return [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in columns]


def text(row: sa.Row[Any], name: str) -> str:
    value = getattr(row, name)
    if not isinstance(value, str):
        raise UnreadableValue(f"{name} is not text")
    return value


def octets(row: sa.Row[Any], name: str, length: int | None = None) -> bytes:
    value = getattr(row, name)
    if not isinstance(value, (bytes, memoryview)) or length not in (None, len(value)):
        raise UnreadableValue(f"{name} is not {'bytes' if length is None else f'{length} bytes'}")
    return bytes(value)


def integer(row: sa.Row[Any], name: str, least: int, most: int) -> int:
    value = getattr(row, name)
    if type(value) is not int or not least <= value <= most:
        raise UnreadableValue(f"{name} is not an integer from {least} to {most}")
    return value


def flag(row: sa.Row[Any], name: str) -> bool:
    value = getattr(row, name)
    if value not in (0, 1) or not isinstance(value, int):
        raise UnreadableValue(f"{name} is neither true nor false")
    return bool(value)


def instant(row: sa.Row[Any], name: str) -> datetime:
    """An aware instant that `schema.Utc` wrote."""
    value = getattr(row, name)
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(at, datetime):
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UnreadableValue(f"{name} is not a timestamp")


def instant_or_none(row: sa.Row[Any], name: str) -> datetime | None:
    return None if getattr(row, name) is None else instant(row, name)


def document(row: sa.Row[Any], name: str) -> Any:
    """Decoded JSON. PostgreSQL's driver returns it decoded."""
    value = getattr(row, name)
    if not isinstance(value, (str, bytes)):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise UnreadableValue(f"{name} is not JSON") from None
