"""`Workers`: one row a worker, dated by the store's clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.deployment.workers import Heartbeat, RegionStatus, Worker
from tokensvc.errors import Action, Remedy
from tokensvc.problems import Problem, ProblemCode
from tokensvc.storage.dialect import StoreNow, insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, document, raw
from tokensvc.storage.schema import workers

_LISTS = ("undecryptable", "problems", "regions")


class SqlWorkers:
    """See `tokensvc.deployment.workers`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        regions = [news._asdict() for news in heartbeat.regions]
        trouble = [_stored(problem) for problem in heartbeat.problems]
        lists = {"undecryptable": list(heartbeat.undecryptable), "problems": trouble, "regions": regions}
        said = heartbeat._asdict() | lists
        with write_transaction(self._engine) as connection:
            kept = insert(connection, workers).values(**said, started_at=StoreNow(), last_heartbeat_at=StoreNow())
            connection.execute(
                kept.on_conflict_do_update(
                    index_elements=[workers.c.worker_id], set_=said | {"last_heartbeat_at": StoreNow()}
                )
            )

    def deregister(self, worker_id: str) -> None:
        with write_transaction(self._engine) as connection:
            connection.execute(sa.delete(workers).where(workers.c.worker_id == worker_id))

    def list(self) -> list[Worker]:
        with read_transaction(self._engine) as connection:
            wanted = sa.select(*(c for c in workers.c if c.name not in _LISTS), *raw(*(workers.c[n] for n in _LISTS)))
            rows = connection.execute(wanted.order_by(workers.c.started_at, workers.c.worker_id)).all()
        return [_worker(row) for row in rows]

    def remove_unresponsive(self, seconds: float) -> int:
        silent = sa.delete(workers).where(workers.c.last_heartbeat_at < StoreNow() - sa.literal(seconds, sa.Double))
        with write_transaction(self._engine) as connection:
            return len(connection.execute(silent.returning(workers.c.worker_id)).all())


def _worker(row: sa.Row[Any]) -> Worker:
    said = {field: getattr(row, field) for field in Heartbeat._fields}
    try:
        undecryptable = tuple(map(str, _list(row, "undecryptable")))
        trouble = tuple(_problem(stored) for stored in _list(row, "problems"))
        regions = tuple(RegionStatus(**news) for news in _list(row, "regions"))
    except (UnreadableValue, TypeError):  # its lease, which the length of a drain depends on, counts all the same
        undecryptable, trouble, regions = (), (Problem(ProblemCode.HEARTBEAT_UNREADABLE),), ()
    heartbeat = Heartbeat(**said | {"undecryptable": undecryptable, "problems": trouble, "regions": regions})
    return Worker(
        heartbeat, datetime.fromtimestamp(row.started_at, UTC), datetime.fromtimestamp(row.last_heartbeat_at, UTC)
    )


def _list(row: sa.Row[Any], name: str) -> list[Any]:
    found = document(row, name)
    if not isinstance(found, list):
        raise UnreadableValue(f"{name} is no list")
    return found


def _stored(problem: Problem) -> dict[str, Any]:
    remedy = problem.remedy
    return {
        "code": str(problem.code),
        "region": problem.region,
        "parameters": dict(problem.parameters),
        "remedy": remedy and {"action": str(remedy.action), "parameters": dict(remedy.parameters)},
    }


def _problem(stored: Any) -> Problem:
    """A problem as it was stored. A newer version's remedy is left out. Raises Unreadable."""
    try:
        parameters = {str(name): str(value) for name, value in stored["parameters"].items()}
        problem = Problem(str(stored["code"]), str(stored["region"]), parameters)
        if (remedy := stored["remedy"]) and remedy["action"] in set(Action):
            about = {str(name): str(value) for name, value in remedy["parameters"].items()}
            return replace(problem, remedy=Remedy(Action(remedy["action"]), about))
        return problem
    except (KeyError, TypeError, AttributeError):
        raise UnreadableValue("trouble holds what is no problem") from None
