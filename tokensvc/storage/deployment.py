"""`DeploymentStore`: one row, and the versions of the subject key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from tokensvc.callers.policy import MAX_STORABLE_TTL_SECONDS
from tokensvc.deployment.record import Deployment, WrappedSubjectKey
from tokensvc.errors import ForeignDeployment, SchemaMismatch, SubjectKeyLost
from tokensvc.keys.lifecycle import KeyState
from tokensvc.storage import changes
from tokensvc.storage.dialect import StoreNow, insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.errors import UPGRADE
from tokensvc.storage.rows import UnreadableValue, instant, integer, octets, raw
from tokensvc.storage.schema import deployment, key_placements, subject_keys

_MAY_SIGN = (KeyState.ACTIVE, KeyState.RETIRING)
"""A retiring key is one that a worker which has not heard may still sign with."""

_RESTORE_ROW = "put its row of subject_keys back from a backup"


class SqlDeploymentStore:
    """See `tokensvc.deployment.record`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self) -> Deployment:
        with read_transaction(self._engine) as connection:
            return _read(connection)

    def bind(self, control_plane: str) -> Deployment:
        return self._bind("control_plane", control_plane)

    def bind_account(self, account: str) -> Deployment:
        return self._bind("account", account)

    def subject_keys(self) -> list[WrappedSubjectKey]:
        with read_transaction(self._engine) as connection:
            return _subject_keys(connection)

    def add_subject_key(self, version: int, wrapped: bytes) -> WrappedSubjectKey:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            _subject_keys(connection)  # none of those that were made is missing
            created_at = datetime.fromtimestamp(connection.execute(sa.select(StoreNow())).scalar_one(), UTC)
            added = (
                insert(connection, subject_keys)
                .values(version=version, wrapped=wrapped, created_at=created_at)
                .on_conflict_do_nothing(index_elements=[subject_keys.c.version])
                .returning(subject_keys.c.version)
            )
            if connection.execute(added).first():
                fewer = deployment.c.subject_keys_made < version
                connection.execute(sa.update(deployment).where(fewer).values(subject_keys_made=version))
                changes.bump_version(connection, "deployment")
            kept = connection.execute(sa.select(subject_keys).where(subject_keys.c.version == version)).one()
        return WrappedSubjectKey(*kept)

    def replace_subject_key(self, version: int, seen: bytes, wrapped: bytes) -> bool:
        replaced = (
            sa.update(subject_keys)
            .where(subject_keys.c.version == version, subject_keys.c.wrapped == seen)
            .values(wrapped=wrapped)
            .returning(subject_keys.c.version)
        )
        with write_transaction(self._engine) as connection:
            return connection.execute(replaced).first() is not None

    def set_max_ttl_seconds(self, seconds: int) -> Deployment:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            changes.lock_version(connection, "keys")
            moved = (
                sa.update(deployment)
                .where(deployment.c.max_ttl_seconds != seconds)
                .values(max_ttl_seconds=seconds)
                .returning(deployment.c.id)
            )
            longer = (
                sa.update(key_placements)
                .where(key_placements.c.state.in_(_MAY_SIGN), key_placements.c.longest_ttl_seconds < seconds)
                .values(longest_ttl_seconds=seconds)
                .returning(key_placements.c.key_id)
            )
            if connection.execute(moved).first():
                changes.bump_version(connection, "deployment")
            if connection.execute(longer).all():
                changes.bump_version(connection, "keys")
            return _read(connection)

    def set_rotation(self, *, propagation_seconds: float, max_age_seconds: float | None, standby: bool) -> Deployment:
        policy = {
            "key_propagation_seconds": propagation_seconds,
            "key_max_age_seconds": max_age_seconds,
            "key_standby": standby,
        }
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            now_set = _read(connection)
            if any(getattr(now_set, name) != value for name, value in policy.items()):
                connection.execute(sa.update(deployment).values(policy))
                changes.bump_version(connection, "deployment")
            return _read(connection)

    def _bind(self, column: Literal["control_plane", "account"], value: str) -> Deployment:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            if _set_if_unset(connection, column, value):
                changes.bump_version(connection, "deployment")
            bound = _read(connection)
        kept = getattr(bound, column)
        if kept != value:
            where = column.replace("_", " ")
            raise ForeignDeployment(f"the store's keys live in the {where} {kept}, not in {value}")
        return bound


def _subject_keys(connection: sa.Connection) -> list[WrappedSubjectKey]:
    """All versions, newest first. Raises SubjectKeyLost when one of those that were made is not there."""
    made = connection.execute(sa.select(deployment.c.subject_keys_made)).scalar() or 0
    wanted = sa.select(*raw(*subject_keys.c)).order_by(subject_keys.c.version.desc())
    kept: list[WrappedSubjectKey] = []
    for row in connection.execute(wanted):
        try:
            version = integer(row, "version", 1, (1 << 31) - 1)
            kept.append(WrappedSubjectKey(version, octets(row, "wrapped"), instant(row, "created_at")))
        except UnreadableValue as problem:
            raise SubjectKeyLost(f"the store's subject key cannot be read: {problem}; {_RESTORE_ROW}") from None
    missing = set(range(1, made + 1)) - {key.version for key in kept}
    if missing:
        raise SubjectKeyLost(f"the store had a subject key, version {max(missing)}, and has it no more; {_RESTORE_ROW}")
    return kept


def _set_if_unset(connection: sa.Connection, column: str, value: str) -> bool:
    """Set what nobody has set; whether it was us."""
    filled = sa.update(deployment).where(deployment.c[column].is_(None)).values({column: value})
    return connection.execute(filled.returning(deployment.c.id)).first() is not None


def _read(connection: sa.Connection) -> Deployment:
    kept = [field for field in Deployment._fields if field not in ("max_ttl_seconds", "damage")]
    columns = [*(deployment.c[field] for field in kept), *raw(deployment.c.max_ttl_seconds)]
    row = connection.execute(sa.select(*columns)).first()
    if row is None:
        raise SchemaMismatch("the store has no deployment", remedy=UPGRADE)
    fields = {field: getattr(row, field) for field in kept}
    try:
        return Deployment(**fields, max_ttl_seconds=integer(row, "max_ttl_seconds", 1, MAX_STORABLE_TTL_SECONDS))
    except UnreadableValue as problem:
        return Deployment(**fields, max_ttl_seconds=0, damage=f"the deployment's {problem}")
