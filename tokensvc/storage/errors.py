"""Maps the errors of databases and drivers to the errors of tokensvc.

Invariants
- Two tables map SQLite's error names and PostgreSQL's SQLSTATEs to an error class, a message and a remedy.
- `message` is fixed text, since callers see it. `detail` is for operators: the target of the connection (file, or host,
  port, database and role) and the driver's message.
- Values of rows never leave this file: drivers quote values in their messages (PostgreSQL's DETAIL), SQLAlchemy quotes
  parameters and URLs. Therefore `detail` has only the driver's code and primary message, and the original exception is
  not chained. Anything that looks like a password or the user part of a URL is removed from the driver's message.
- No driver is imported here; codes are read as attributes of what the driver raised.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tokensvc.errors import (
    Action,
    Conflict,
    Remedy,
    SchemaMismatch,
    StoreError,
    StoreNotFound,
    StoreUnavailable,
    TokensvcError,
)
from tokensvc.printable import printable


class _Mapping(NamedTuple):
    error_class: type[TokensvcError]
    message: str
    action: Action | None = None
    """The action of the error's remedy."""


UPGRADE = Remedy(Action.UPGRADE_SCHEMA)
CORRECT_URL = Remedy(Action.CORRECT_DATABASE_URL)

UNREACHABLE = _Mapping(StoreUnavailable, "the store cannot be reached", Action.REACH_STORE)
TIMED_OUT = _Mapping(StoreUnavailable, "the store did not respond in time", Action.RAISE_STORE_TIMEOUT)
LOCKED = _Mapping(StoreUnavailable, "the store is locked by another process", Action.WAIT_FOR_LOCK)
DISK_FULL = _Mapping(StoreUnavailable, "the store's disk is full", Action.FREE_DISK_SPACE)
READ_ONLY = _Mapping(StoreUnavailable, "the store is read-only", Action.USE_WRITABLE_STORE)
DAMAGED = _Mapping(StoreUnavailable, "the store's disk or file is damaged", Action.RESTORE_STORE)
LOGIN_REFUSED = _Mapping(StoreUnavailable, "the store rejected the login", Action.CORRECT_LOGIN)
DATABASE_MISSING = _Mapping(StoreUnavailable, "the database does not exist on its server", Action.CREATE_DATABASE)
SCHEMA_MISSING = _Mapping(SchemaMismatch, "the store does not have the schema of this version", Action.UPGRADE_SCHEMA)
NOT_A_DATABASE = _Mapping(StoreNotFound, "the file is not a SQLite database", Action.CORRECT_DATABASE_URL)
CONSTRAINT_VIOLATED = _Mapping(Conflict, "the change conflicts with data in the store")
INVALID_TEXT = _Mapping(StoreError, "the store accepts only valid Unicode text without the character NUL")
UNKNOWN = _Mapping(StoreError, "the store failed")

SQLITE: dict[str, _Mapping] = {
    "SQLITE_BUSY": LOCKED,
    "SQLITE_LOCKED": LOCKED,
    "SQLITE_FULL": DISK_FULL,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_PERM": READ_ONLY,
    "SQLITE_AUTH": READ_ONLY,
    "SQLITE_CANTOPEN": UNREACHABLE,
    "SQLITE_IOERR": DAMAGED,
    "SQLITE_CORRUPT": DAMAGED,
    "SQLITE_PROTOCOL": LOCKED,
    "SQLITE_NOTADB": NOT_A_DATABASE,
    "SQLITE_CONSTRAINT": CONSTRAINT_VIOLATED,
}
"""By the primary part of `sqlite_errorname`: SQLITE_IOERR for SQLITE_IOERR_WRITE."""

POSTGRES: dict[str, _Mapping] = {
    "42P01": SCHEMA_MISSING,  # undefined_table
    "42703": SCHEMA_MISSING,  # undefined_column
    "3D000": DATABASE_MISSING,
    "3F000": SCHEMA_MISSING,  # invalid_schema_name
    "25006": READ_ONLY,  # read_only_sql_transaction: a replica
    "42501": LOGIN_REFUSED,  # insufficient_privilege
    "53100": DISK_FULL,
    "57014": TIMED_OUT,  # query_canceled: statement_timeout
    "55P03": LOCKED,
    "08": UNREACHABLE,
    "23": CONSTRAINT_VIOLATED,
    "28": LOGIN_REFUSED,
    "40": LOCKED,  # deadlock, serialization
    "53": UNREACHABLE,
    "57": UNREACHABLE,  # shut down, starting up
    "58": DAMAGED,
    "XX": DAMAGED,
}
"""By SQLSTATE, or by its class if the state is not listed."""

CONNECTION_FAILURES = (
    (r'database ".*" does not exist', DATABASE_MISSING),
    (r'authentication failed|role ".*" does not exist|no pg_hba.conf entry|no password supplied', LOGIN_REFUSED),
)
"""libpq reports no SQLSTATE for a failed connection, so the server's English message is matched."""

_NUL_REFUSED = "cannot contain NUL"
"""psycopg's message for text that it refuses to send; there is no SQLSTATE."""

_CONNECTION_ERRORS = frozenset({"OperationalError", "ConnectionTimeout"})
_SCHEMA_MISSING_SIGNS = ("no such table", "no such column", "has no column named")
_VALUES_QUOTED = ("22", "P0")
"""Classes of SQLSTATE whose primary message quotes values: data exceptions, and exceptions of triggers."""
_LINES_MAX = 6
_QUOTES_STATEMENT = re.compile(r"^(DETAIL|CONTEXT|QUERY|STATEMENT|LINE \d+)\b")
_UNKNOWN_OPTION = re.compile(r'invalid connection option "\w+"')
_SECRET = re.compile(r"(?<=://)[^\s/]*(?=@)|passw(or)?d\s*=\s*('[^']*'|\S+)", re.IGNORECASE)


@contextlib.contextmanager
def map_db_errors(engine: sa.Engine) -> Iterator[None]:
    """Map the exceptions of SQLAlchemy and the drivers within the block to TokensvcErrors."""
    try:
        yield
    except PoolTimeout:
        raise _failure(TIMED_OUT, engine, "no connection became free in time") from None
    except DBAPIError as error:
        raise map_driver_error(error.orig, engine) from None
    except UnicodeEncodeError:  # text from a command-line argument that is not valid UTF-8
        raise INVALID_TEXT.error_class(INVALID_TEXT.message) from None
    except SQLAlchemyError as error:
        raise UNKNOWN.error_class(UNKNOWN.message, detail=_detail(engine, type(error).__name__)) from None


def map_driver_error(error: BaseException | None, engine: sa.Engine) -> TokensvcError:
    """The TokensvcError for a driver's exception."""
    mapping, text = _of_sqlite(error) if hasattr(error, "sqlite_errorname") else _of_postgres(error)
    return _failure(mapping, engine, text or type(error).__name__)


def target_of(engine: sa.Engine) -> str:
    """The target of the engine's connections, for operators; without a password."""
    return str(engine.get_execution_options().get("target", engine.dialect.name))


def _failure(mapping: _Mapping, engine: sa.Engine, text: str) -> TokensvcError:
    remedy = None if mapping.action is None else Remedy(mapping.action, {"target": target_of(engine)})
    return mapping.error_class(mapping.message, detail=_detail(engine, text), remedy=remedy)


def _detail(engine: sa.Engine, text: str) -> str:
    target, query = target_of(engine), engine.url.query
    for secret in (engine.url.password, query.get("password"), query.get("sslpassword")):
        if secret and str(secret) not in target:  # the name of a role may equal its password, and is shown anyway
            text = text.replace(str(secret), "***")
    return printable(f"{_SECRET.sub('***', text)} ({target})")


def _of_sqlite(error: BaseException | None) -> tuple[_Mapping, str]:
    name, text = str(getattr(error, "sqlite_errorname", "")), str(error)
    if name == "SQLITE_ERROR" and any(sign in text for sign in _SCHEMA_MISSING_SIGNS):
        return SCHEMA_MISSING, f"{name}: {text}"
    return SQLITE.get("_".join(name.split("_")[:2]), UNKNOWN), f"{name}: {text}"


def _of_postgres(error: BaseException | None) -> tuple[_Mapping, str]:
    state = getattr(error, "sqlstate", None)
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    if state is None:  # raised by psycopg itself: no connection, a lost connection, or wrong use
        if type(error).__name__ not in _CONNECTION_ERRORS:
            return _of_misuse(str(error))
        text = _lines(str(error))
        return next((mapping for sign, mapping in CONNECTION_FAILURES if re.search(sign, text)), UNREACHABLE), text
    mapping = POSTGRES.get(state) or POSTGRES.get(state[:2], UNKNOWN)
    return mapping, state if state.startswith(_VALUES_QUOTED) else f"{state}: {primary or error}"


def _of_misuse(text: str) -> tuple[_Mapping, str]:
    if _NUL_REFUSED in text:
        return INVALID_TEXT, ""
    option = _UNKNOWN_OPTION.search(text)
    return UNKNOWN, option[0] if option else ""


def _lines(text: str) -> str:
    """libpq's message about a connection in one line; with several hosts it has the error of each."""
    lines: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if _QUOTES_STATEMENT.match(line) or len(lines) == _LINES_MAX:
            break
        lines.append(line)
    return "; ".join(filter(None, lines))
