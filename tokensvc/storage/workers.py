"""`Workers`: one row for each worker, with the times of the store's clock."""

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
        regions = [region._asdict() for region in heartbeat.regions]
        problems = [_encode(problem) for problem in heartbeat.problems]
        lists = {"undecryptable": list(heartbeat.undecryptable), "problems": problems, "regions": regions}
        values = heartbeat._asdict() | lists
        with write_transaction(self._engine) as connection:
            row = insert(connection, workers).values(**values, started_at=StoreNow(), last_heartbeat_at=StoreNow())
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=[workers.c.worker_id], set_=values | {"last_heartbeat_at": StoreNow()}
                )
            )

    def deregister(self, worker_id: str) -> None:
        with write_transaction(self._engine) as connection:
            connection.execute(sa.delete(workers).where(workers.c.worker_id == worker_id))

    def list(self) -> list[Worker]:
        with read_transaction(self._engine) as connection:
            query = sa.select(*(c for c in workers.c if c.name not in _LISTS), *raw(*(workers.c[n] for n in _LISTS)))
            rows = connection.execute(query.order_by(workers.c.started_at, workers.c.worker_id)).all()
        return [_worker(row) for row in rows]

    def remove_unresponsive(self, seconds: float) -> int:
        unresponsive = sa.delete(workers).where(
            workers.c.last_heartbeat_at < StoreNow() - sa.literal(seconds, sa.Double)
        )
        with write_transaction(self._engine) as connection:
            return len(connection.execute(unresponsive.returning(workers.c.worker_id)).all())


def _worker(row: sa.Row[Any]) -> Worker:
    fields = {field: getattr(row, field) for field in Heartbeat._fields}
    try:
        undecryptable = tuple(map(str, _list(row, "undecryptable")))
        problems = tuple(_decode_problem(stored) for stored in _list(row, "problems"))
        regions = tuple(RegionStatus(**region) for region in _list(row, "regions"))
    except (UnreadableValue, TypeError):  # the rest stays in use: its lease determines how long keys drain
        undecryptable, problems, regions = (), (Problem(ProblemCode.HEARTBEAT_UNREADABLE),), ()
    heartbeat = Heartbeat(**fields | {"undecryptable": undecryptable, "problems": problems, "regions": regions})
    return Worker(
        heartbeat, datetime.fromtimestamp(row.started_at, UTC), datetime.fromtimestamp(row.last_heartbeat_at, UTC)
    )


def _list(row: sa.Row[Any], name: str) -> list[Any]:
    found = document(row, name)
    if not isinstance(found, list):
        raise UnreadableValue(f"{name} is not a list")
    return found


def _encode(problem: Problem) -> dict[str, Any]:
    remedy = problem.remedy
    return {
        "code": str(problem.code),
        "region": problem.region,
        "parameters": dict(problem.parameters),
        "remedy": remedy and {"action": str(remedy.action), "parameters": dict(remedy.parameters)},
    }


def _decode_problem(stored: Any) -> Problem:
    """A stored problem, without its remedy if a newer version added that action. Raises UnreadableValue."""
    try:
        parameters = {str(name): str(value) for name, value in stored["parameters"].items()}
        problem = Problem(str(stored["code"]), str(stored["region"]), parameters)
        if (remedy := stored["remedy"]) and remedy["action"] in set(Action):
            subject = {str(name): str(value) for name, value in remedy["parameters"].items()}
            return replace(problem, remedy=Remedy(Action(remedy["action"]), subject))
        return problem
    except (KeyError, TypeError, AttributeError):
        raise UnreadableValue("problems has an item that is not a problem") from None
