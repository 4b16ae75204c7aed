"""PostgreSQL through psycopg 3.

Invariants
- READ COMMITTED is enough for write transactions, since every compare-and-set is one UPDATE … WHERE <expected>. A read
  transaction is REPEATABLE READ, so all its queries see one state.
- Each call has one deadline. The server's statement_timeout enforces it while the server works, TCP timeouts when the
  network fails, and `_Connection` when the server hangs.
- No ping before use. If the server closed a pooled connection, its socket is readable; it is polled before each use
  without waiting, so a restarted server is used again at the next call.
"""

from __future__ import annotations

import contextlib
import math
import select
import time
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from sqlalchemy.exc import DisconnectionError

from tokensvc.storage.database_urls import postgres_target

_T = TypeVar("_T")
_call_deadline: ContextVar[float] = ContextVar("call_deadline", default=math.inf)

_OPTIONS: dict[str, Any] = {
    "reading": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    "writing": {},
}
_POLL_SECONDS = 0.1


class DeadlineExceeded(psycopg.OperationalError):
    """The server did not answer before the call's deadline."""

    sqlstate = "57014"  # query_canceled, as for the server's statement_timeout


class _Connection(psycopg.Connection[Any]):
    """A connection that fails at its call's deadline and is then closed, since the state of its protocol is unknown."""

    def wait(self, gen: PQGen[_T], interval: float = _POLL_SECONDS, timeout: float | None = None) -> _T:
        deadline = _call_deadline.get()
        if deadline < math.inf:
            gen, interval = self._until(gen, deadline), min(interval, _POLL_SECONDS)
        # Older releases of psycopg 3 have no `timeout` parameter and never pass one.
        return super().wait(gen, interval) if timeout is None else super().wait(gen, interval, timeout)

    def _until(self, gen: PQGen[_T], deadline: float) -> Generator[Any, Any, _T]:
        try:
            waits_for = next(gen)
            while True:
                ready = yield waits_for
                if not ready and time.monotonic() >= deadline:
                    self.pgconn.finish()
                    raise DeadlineExceeded("no response before the deadline")
                waits_for = gen.send(ready)
        except StopIteration as end:
            result: _T = end.value
            return result


def make_engine(url: sa.URL, timeout_seconds: float) -> sa.Engine:
    """An engine for a PostgreSQL database; see `engine.make_engine`."""
    engine = sa.create_engine(
        url,
        pool_size=16,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_pre_ping=False,
        hide_parameters=True,
        execution_options={**_OPTIONS, "call_guard": _deadline(timeout_seconds)},
    )
    _, parameters = engine.dialect.create_connect_args(url)
    engine.update_execution_options(target=postgres_target(parameters, _libpq_defaults()))

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, params: dict[str, Any]) -> _Connection:
        return _connect(args, params, timeout_seconds)

    sa.event.listen(engine, "checkout", lambda connection, _, __: _check_socket(connection))
    return engine


def _libpq_defaults() -> dict[str, str | None]:
    """libpq's defaults for omitted parameters: environment variables such as PGHOST, and compiled-in values."""
    options = psycopg.pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode(errors="replace") if option.val else None for option in options}


def _connect(args: Any, params: dict[str, Any], timeout_seconds: float) -> _Connection:
    milliseconds = math.ceil(timeout_seconds * 1000)
    defaults = {
        "connect_timeout": math.ceil(timeout_seconds),
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": math.ceil(timeout_seconds),
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "application_name": "tokensvc",
    }
    connection = _Connection.connect(*args, **{**defaults, **params})
    connection.autocommit = True
    connection.execute("SELECT set_config('statement_timeout', %s, false)", [str(milliseconds)])
    connection.autocommit = False
    return connection


def _deadline(timeout_seconds: float) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def call_guard() -> Iterator[None]:
        token = _call_deadline.set(time.monotonic() + timeout_seconds)
        try:
            yield
        finally:
            _call_deadline.reset(token)

    return call_guard


def _check_socket(connection: Any) -> None:
    """Raise DisconnectionError if the server closed this idle connection: only then is its socket readable."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if connection.closed or poll.poll(0):
        raise DisconnectionError("the server closed the connection")
