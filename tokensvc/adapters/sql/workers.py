"""`Workers`: one row a worker, dated by the store's clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.adapters.sql.dialect import StoreNow, insert
from tokensvc.adapters.sql.engine import reading, writing
from tokensvc.adapters.sql.tables import workers
from tokensvc.ports.workers import Heartbeat, RegionNews, Worker


class SqlWorkers:
    """See `tokensvc.ports.workers`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def beat(self, heartbeat: Heartbeat) -> None:
        regions = [news._asdict() for news in heartbeat.regions]
        lists = {"unopened": list(heartbeat.unopened), "trouble": list(heartbeat.trouble), "regions": regions}
        said = heartbeat._asdict() | lists
        with writing(self._engine) as connection:
            kept = insert(connection, workers).values(**said, started_at=StoreNow(), beat_at=StoreNow())
            connection.execute(
                kept.on_conflict_do_update(index_elements=[workers.c.worker_id], set_=said | {"beat_at": StoreNow()})
            )

    def leave(self, worker_id: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.delete(workers).where(workers.c.worker_id == worker_id))

    def list(self) -> list[Worker]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(workers).order_by(workers.c.started_at, workers.c.worker_id)).all()
        return [_worker(row) for row in rows]

    def forget(self, seconds: float) -> int:
        silent = sa.delete(workers).where(workers.c.beat_at < StoreNow() - sa.literal(seconds, sa.Double))
        with writing(self._engine) as connection:
            return len(connection.execute(silent.returning(workers.c.worker_id)).all())


def _worker(row: sa.Row[Any]) -> Worker:
    said = {field: getattr(row, field) for field in Heartbeat._fields}
    regions = tuple(RegionNews(**news) for news in row.regions)
    heartbeat = Heartbeat(**said | {"unopened": tuple(row.unopened), "trouble": tuple(row.trouble), "regions": regions})
    return Worker(heartbeat, datetime.fromtimestamp(row.started_at, UTC), datetime.fromtimestamp(row.beat_at, UTC))
