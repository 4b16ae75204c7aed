"""`CallerStore`: callers, their policy as a document, and the digests of their keys.

Rules of the file
- The policy's document only grows: a member that is missing means the policy's own default, one that is unknown was
  written by a newer version and is never passed over, for it may forbid something.
- The newest of a caller's keys is the one of the highest ordinal: clocks of two machines may disagree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.adapters.sql import changes
from tokensvc.adapters.sql.dialect import insert
from tokensvc.adapters.sql.engine import reading, writing
from tokensvc.adapters.sql.tables import caller_secrets, callers
from tokensvc.core.policy import CallerPolicy
from tokensvc.errors import CallerExists, CallerNotFound, LostRace, StoreUnfit
from tokensvc.ports.callers import CallerRecord, StoredSecret

_MEMBERS = frozenset({"channels", "scopes", "max_ttl_seconds", "allow_anonymous_viewers", "namespace"})


class SqlCallers:
    """See `tokensvc.ports.callers`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, name: str, policy: CallerPolicy, secret: StoredSecret) -> CallerRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "callers")
            added = (
                insert(connection, callers)
                .values(name=name, policy=_document(policy), created_at=secret.created_at)
                .on_conflict_do_nothing(index_elements=[callers.c.name])
                .returning(callers.c.name)
            )
            if connection.execute(added).first() is None:
                raise CallerExists(f"there is, or was, a caller {name}")
            _add_secret(connection, name, 1, secret)
            changes.advance(connection, "callers")
            return _get(connection, name)

    def list(self) -> list[CallerRecord]:
        with reading(self._engine) as connection:
            return _records(connection)

    def get(self, name: str) -> CallerRecord:
        with reading(self._engine) as connection:
            return _get(connection, name)

    def rotate_secret(self, name: str, expected_key_id: str, secret: StoredSecret, old_until: datetime) -> CallerRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "callers")
            _get(connection, name)
            of_caller = caller_secrets.c.caller == name
            newest = sa.select(sa.func.max(caller_secrets.c.ordinal)).where(of_caller).scalar_subquery()
            sooner = sa.or_(caller_secrets.c.expires_at.is_(None), caller_secrets.c.expires_at > old_until)
            aged = (
                sa.update(caller_secrets)
                .where(of_caller, caller_secrets.c.key_id == expected_key_id, caller_secrets.c.ordinal == newest)
                .values(expires_at=sa.case((sooner, old_until), else_=caller_secrets.c.expires_at))
                .returning(caller_secrets.c.ordinal)
            )
            ordinal = connection.execute(aged).scalar()
            if ordinal is None:
                raise LostRace(f"the newest key of caller {name} is another one by now")
            connection.execute(sa.delete(caller_secrets).where(of_caller, caller_secrets.c.ordinal < ordinal))
            _add_secret(connection, name, ordinal + 1, secret)
            changes.advance(connection, "callers")
            return _get(connection, name)

    def disable(self, name: str, at: datetime) -> CallerRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "callers")
            disabled = (
                sa.update(callers)
                .where(callers.c.name == name, callers.c.disabled_at.is_(None))
                .values(disabled_at=at)
                .returning(callers.c.name)
            )
            if connection.execute(disabled).first():
                changes.advance(connection, "callers")
            return _get(connection, name)


def _add_secret(connection: sa.Connection, name: str, ordinal: int, secret: StoredSecret) -> None:
    connection.execute(sa.insert(caller_secrets).values(caller=name, ordinal=ordinal, **secret._asdict()))


def _get(connection: sa.Connection, name: str) -> CallerRecord:
    found = _records(connection, name)
    if not found:
        raise CallerNotFound(f"there is no caller {name}")
    return found[0]


def _records(connection: sa.Connection, name: str | None = None) -> list[CallerRecord]:
    """All records, or the one of that name: two queries however many there are."""
    who = sa.select(callers)
    what = sa.select(caller_secrets).order_by(caller_secrets.c.ordinal.desc())
    if name is not None:
        who, what = who.where(callers.c.name == name), what.where(caller_secrets.c.caller == name)
    rows = sorted(connection.execute(who).all(), key=lambda row: row.name)  # collations differ between the databases
    secrets: dict[str, list[StoredSecret]] = {}
    for row in connection.execute(what):
        secret = StoredSecret(row.key_id, row.digest, row.created_at, row.expires_at)
        secrets.setdefault(row.caller, []).append(secret)
    return [
        CallerRecord(row.name, _policy(row.policy), tuple(secrets.get(row.name, ())), row.disabled_at, row.created_at)
        for row in rows
    ]


def _document(policy: CallerPolicy) -> dict[str, Any]:
    return {
        "channels": list(policy.channels),
        "scopes": sorted(policy.scopes),
        "max_ttl_seconds": policy.max_ttl_seconds,
        "allow_anonymous_viewers": policy.allow_anonymous_viewers,
        "namespace": policy.namespace,
    }


def _policy(document: dict[str, Any]) -> CallerPolicy:
    if not document.keys() <= _MEMBERS:
        raise StoreUnfit("a caller's policy was written by a newer version of tokensvc")
    known = {**document, "channels": tuple(document["channels"])}
    if "scopes" in known:
        known["scopes"] = frozenset(known["scopes"])
    return CallerPolicy(**known)
