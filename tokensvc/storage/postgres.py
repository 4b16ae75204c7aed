"""PostgreSQL through psycopg 3.

Rules of the file
- READ COMMITTED is enough for writing, since every compare-and-set is one UPDATE … WHERE <expected>; a reading
  transaction is REPEATABLE READ, so that its queries see one state.
- A call has one deadline, from its first moment to its last. The server's statement_timeout keeps it where the server
  lives; TCP's timeouts where the network died; `_Connection` where the server stands still and says nothing.
- No ping before use. A connection that the server closed meanwhile shows it on its socket, which is looked at, without
  waiting, before each use; so a store that is back is used again at the next call.
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
_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)

_OPTIONS: dict[str, Any] = {
    "reading": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    "writing": {},
}
_WAIT_SECONDS = 0.1


class DeadlineExceeded(psycopg.OperationalError):
    """The server did not answer before the call's deadline."""

    sqlstate = "57014"  # what its statement_timeout would have said


class _Connection(psycopg.Connection[Any]):
    """A connection that gives up at its call's deadline and is then closed, for what it would still say is unknown."""

    def wait(self, gen: PQGen[_T], interval: float = _WAIT_SECONDS, timeout: float | None = None) -> _T:
        ends_at = _ends_at.get()
        if ends_at < math.inf:
            gen, interval = self._until(gen, ends_at), min(interval, _WAIT_SECONDS)
        # Older releases of psycopg 3 take no `timeout`, and then nobody gives one.
        return super().wait(gen, interval) if timeout is None else super().wait(gen, interval, timeout)

    def _until(self, gen: PQGen[_T], ends_at: float) -> Generator[Any, Any, _T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() >= ends_at:
                    self.pgconn.finish()
                    raise DeadlineExceeded("no answer before the deadline")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: _T = end.value
            return answer


def make_engine(url: sa.URL, timeout_seconds: float) -> sa.Engine:
    """Prepare the way to a PostgreSQL database; see `engine.make_engine`."""
    engine = sa.create_engine(
        url,
        pool_size=16,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_pre_ping=False,
        hide_parameters=True,
        execution_options={**_OPTIONS, "turn": _deadline(timeout_seconds)},
    )
    _, parameters = engine.dialect.create_connect_args(url)
    engine.update_execution_options(target=postgres_target(parameters, _libpq_defaults()))

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, params: dict[str, Any]) -> _Connection:
        return _connect(args, params, timeout_seconds)

    sa.event.listen(engine, "checkout", lambda connection, _, __: _check_socket(connection))
    return engine


def _libpq_defaults() -> dict[str, str | None]:
    """What libpq takes where the URL says nothing: PGHOST and its like, and what was compiled in."""
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
    def turn() -> Iterator[None]:
        token = _ends_at.set(time.monotonic() + timeout_seconds)
        try:
            yield
        finally:
            _ends_at.reset(token)

    return turn


def _check_socket(connection: Any) -> None:
    """An idle connection has nothing to say: what can be read is the server's farewell."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if connection.closed or poll.poll(0):
        raise DisconnectionError("the server closed the connection")
