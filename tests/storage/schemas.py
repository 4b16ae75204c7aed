"""Describes the schema of a database as text, for comparing two databases of one kind.

Invariants
- The description has everything that the database knows of its tables, except alembic's own: columns in order with
  type, default and NOT NULL, keys, constraints, indexes with their conditions, sequences.
- The text comes from the database: from the catalogue on PostgreSQL, from the stored statements on SQLite.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

_COLUMNS = """
    SELECT c.relname::text || ' ' || a.attnum || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || ' null=' || (NOT a.attnotnull)::text || ' default=' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
        || ' identity=' || a.attidentity::text || ' generated=' || a.attgenerated::text
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
_SEQUENCES = "SELECT 'sequence ' || sequencename || ' ' || data_type FROM pg_sequences WHERE schemaname = 'public'"
_STATEMENTS = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"


def described(connection: sa.Connection) -> list[str]:
    """One line for each object of the schema, sorted."""
    if connection.dialect.name == "sqlite":
        lines = [re.sub(r"\s+", " ", statement) for statement in _lines(connection, _STATEMENTS)]
    else:
        lines = [line for query in (_COLUMNS, _CONSTRAINTS, _INDEXES, _SEQUENCES) for line in _lines(connection, query)]
    return sorted(line for line in lines if "alembic_version" not in line)


def _lines(connection: sa.Connection, query: str) -> list[str]:
    return [str(line) for line in connection.exec_driver_sql(query).scalars()]
