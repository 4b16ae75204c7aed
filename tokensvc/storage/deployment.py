"""`DeploymentStore`: the row of the deployment, and the versions of the subject key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.callers.policy import MAX_STORABLE_TTL_SECONDS
from tokensvc.deployment.record import Deployment, WrappedSubjectKey
from tokensvc.errors import ForeignDeployment, SchemaMismatch, SubjectKeyLost
from tokensvc.keys.lifecycle import KeyState
from tokensvc.storage import changes
from tokensvc.storage.audit import record_events
from tokensvc.storage.dialect import StoreNow, insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.errors import UPGRADE
from tokensvc.storage.rows import UnreadableValue, instant, integer, octets, raw
from tokensvc.storage.schema import deployment, key_placements, subject_keys

_MAY_SIGN = (KeyState.ACTIVE, KeyState.RETIRING)
"""A stale worker may still sign with a retiring key."""

_RESTORE_ROW = "restore its row of the table subject_keys from a backup"


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
            _subject_keys(connection)  # raises if one is missing
            created_at = datetime.fromtimestamp(connection.execute(sa.select(StoreNow())).scalar_one(), UTC)
            added = (
                insert(connection, subject_keys)
                .values(version=version, wrapped=wrapped, created_at=created_at)
                .on_conflict_do_nothing(index_elements=[subject_keys.c.version])
                .returning(subject_keys.c.version)
            )
            if connection.execute(added).first():
                is_newest = deployment.c.subject_keys_created < version
                connection.execute(sa.update(deployment).where(is_newest).values(subject_keys_created=version))
                changes.bump_version(connection, "deployment")
            stored = connection.execute(sa.select(subject_keys).where(subject_keys.c.version == version)).one()
        return WrappedSubjectKey(*stored)

    def replace_subject_key(self, version: int, seen: bytes, wrapped: bytes) -> bool:
        update = (
            sa.update(subject_keys)
            .where(subject_keys.c.version == version, subject_keys.c.wrapped == seen)
            .values(wrapped=wrapped)
            .returning(subject_keys.c.version)
        )
        with write_transaction(self._engine) as connection:
            return connection.execute(update).first() is not None

    def set_max_ttl_seconds(self, seconds: int, *, event: AuditEvent) -> Deployment:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            changes.lock_version(connection, "keys")
            before = _read(connection)
            changed = (
                sa.update(deployment)
                .where(deployment.c.max_ttl_seconds != seconds)
                .values(max_ttl_seconds=seconds)
                .returning(deployment.c.id)
            )
            raised = (
                sa.update(key_placements)
                .where(key_placements.c.state.in_(_MAY_SIGN), key_placements.c.longest_ttl_seconds < seconds)
                .values(longest_ttl_seconds=seconds)
                .returning(key_placements.c.key_id)
            )
            is_changed = connection.execute(changed).first() is not None
            if is_changed:
                changes.bump_version(connection, "deployment")
            if connection.execute(raised).all():
                changes.bump_version(connection, "keys")
            if is_changed:
                details = {"max_ttl_seconds": _change(before.max_ttl_seconds or "unreadable", seconds)}
                record_events(connection, [event._replace(details=details)])
            return _read(connection)

    def set_rotation(
        self, *, propagation_seconds: float, max_age_seconds: float | None, standby: bool, event: AuditEvent
    ) -> Deployment:
        policy = {
            "key_propagation_seconds": propagation_seconds,
            "key_max_age_seconds": max_age_seconds,
            "key_standby": standby,
        }
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            current = _read(connection)
            changed = {
                name: _change(getattr(current, name), value)
                for name, value in policy.items()
                if getattr(current, name) != value
            }
            if changed:
                connection.execute(sa.update(deployment).values(policy))
                changes.bump_version(connection, "deployment")
                record_events(connection, [event._replace(details=changed)])
            return _read(connection)

    def _bind(self, column: Literal["control_plane", "account"], value: str) -> Deployment:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            if _set_if_unset(connection, column, value):
                changes.bump_version(connection, "deployment")
            bound = _read(connection)
        stored = getattr(bound, column)
        if stored != value:
            what = column.replace("_", " ")
            raise ForeignDeployment(f"the store belongs to {what} {stored}, not to {value}")
        return bound


def _change(old: object, new: object) -> str:
    return f"{'none' if old is None else old} -> {'none' if new is None else new}"


def _subject_keys(connection: sa.Connection) -> list[WrappedSubjectKey]:
    """All versions, newest first. Raises SubjectKeyLost if one that was created is missing or unreadable."""
    created = connection.execute(sa.select(deployment.c.subject_keys_created)).scalar() or 0
    query = sa.select(*raw(*subject_keys.c)).order_by(subject_keys.c.version.desc())
    keys: list[WrappedSubjectKey] = []
    for row in connection.execute(query):
        try:
            version = integer(row, "version", 1, (1 << 31) - 1)
            keys.append(WrappedSubjectKey(version, octets(row, "wrapped"), instant(row, "created_at")))
        except UnreadableValue as error:
            raise SubjectKeyLost(f"the store's subject key cannot be read: {error}; {_RESTORE_ROW}") from None
    missing = set(range(1, created + 1)) - {key.version for key in keys}
    if missing:
        raise SubjectKeyLost(f"version {max(missing)} of the store's subject key is missing; {_RESTORE_ROW}")
    return keys


def _set_if_unset(connection: sa.Connection, column: str, value: str) -> bool:
    """Set a column that is NULL; return whether it was."""
    update = sa.update(deployment).where(deployment.c[column].is_(None)).values({column: value})
    return connection.execute(update.returning(deployment.c.id)).first() is not None


def _read(connection: sa.Connection) -> Deployment:
    columns = [field for field in Deployment._fields if field not in ("max_ttl_seconds", "damage")]
    query = sa.select(*(deployment.c[field] for field in columns), *raw(deployment.c.max_ttl_seconds))
    row = connection.execute(query).first()
    if row is None:
        raise SchemaMismatch("the store has no deployment record", remedy=UPGRADE)
    fields = {field: getattr(row, field) for field in columns}
    try:
        return Deployment(**fields, max_ttl_seconds=integer(row, "max_ttl_seconds", 1, MAX_STORABLE_TTL_SECONDS))
    except UnreadableValue as error:
        return Deployment(**fields, max_ttl_seconds=0, damage=f"the deployment's {error}")
