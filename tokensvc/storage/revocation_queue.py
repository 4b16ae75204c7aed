"""`RevocationQueue`: claims and outcomes, each one statement with the expected state as its condition.

Invariants
- A claim only moves `due_at` into the future: the claim of a dispatcher that crashed expires by itself.
- Claiming waits for no lock: an entry that is locked is being changed, and the next claim takes it. Recording outcomes
  locks entries in the order of their ids, as every writer of entries does.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion
from tokensvc.revocations.model import Priority
from tokensvc.revocations.queue import Backlog, DeliveryOutcome, QueueEntry
from tokensvc.storage.dialect import StoreNow
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import QUEUED, revocation_entries

_c = revocation_entries.c


class SqlRevocationQueue:
    """See `tokensvc.revocations.queue`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def claim(self, account_region: AccountRegion, priority: Priority, limit: int, seconds: float) -> list[QueueEntry]:
        due = (QUEUED, _c.due_at <= StoreNow())
        oldest = (
            sa.select(_c.id)
            .where(
                *due, _c.account == account_region.account, _c.region == account_region.region, _c.priority == priority
            )
            .order_by(_c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("oldest")  # a subquery may be evaluated more than once and then lock more than its limit
        )
        claimed = (
            sa.update(revocation_entries)
            .where(*due, _c.id.in_(sa.select(oldest.c.id)))
            .values(due_at=StoreNow() + sa.literal(seconds, sa.Double), attempts=_c.attempts + 1)
            .returning(_c.id, _c.channel_arn, _c.viewer_id, _c.version, _c.attempts)
        )
        with write_transaction(self._engine) as connection:
            return sorted(QueueEntry(*row) for row in connection.execute(claimed))

    def record_outcomes(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        unchanged = _c.version == sa.bindparam("sent_version")
        finished = sa.and_(unchanged, sa.bindparam("state") != sa.literal_column("'queued'"))
        retry_in = sa.bindparam("retry_in", type_=sa.Double)
        update = (
            sa.update(revocation_entries)
            .where(_c.id == sa.bindparam("which"), QUEUED)
            .where(sa.func.coalesce(sa.bindparam("channel", type_=sa.Text), _c.channel_arn) == _c.channel_arn)
            .where(sa.func.coalesce(sa.bindparam("viewer", type_=sa.Text), _c.viewer_id) == _c.viewer_id)
            .values(
                state=sa.case((unchanged, sa.bindparam("state", type_=sa.Text)), else_=_c.state),
                due_at=StoreNow() + sa.case((unchanged, retry_in), else_=sa.literal(0.0, sa.Double)),
                finished_at=sa.case((finished, StoreNow()), else_=_c.finished_at),
                priority=sa.func.coalesce(sa.bindparam("new_priority", type_=sa.SmallInteger), _c.priority),
                code=sa.bindparam("error_code"),
                message=sa.bindparam("error_message"),
            )
        )
        rows = [
            {"which": o.id, "sent_version": o.version, "state": o.state, "retry_in": o.retry_in_seconds}
            | {"error_code": o.code, "error_message": o.message, "new_priority": o.priority}
            | {"channel": o.channel_arn, "viewer": o.viewer_id}
            for o in sorted(outcomes, key=lambda outcome: outcome.id)
        ]
        if rows:
            with write_transaction(self._engine) as connection:
                connection.execute(update, rows)

    def backlogs(self) -> dict[AccountRegion, Backlog]:
        code = sa.func.max(sa.case((_c.attempts > 0, _c.code), else_=sa.literal(""))).label("code")
        backlog = (
            sa.select(_c.account, _c.region, sa.func.count().label("queued"), sa.func.min(_c.id).label("oldest"), code)
            .where(QUEUED)
            .group_by(_c.account, _c.region)
            .subquery()
        )
        age = StoreNow() - _c.queued_at
        c = backlog.c
        query = sa.select(c.account, c.region, c.queued, age, c.code).join(revocation_entries, _c.id == c.oldest)
        with read_transaction(self._engine) as connection:
            return {
                AccountRegion(account, region): Backlog(queued, max(0.0, oldest_age_seconds), code)
                for account, region, queued, oldest_age_seconds, code in connection.execute(query)
            }
