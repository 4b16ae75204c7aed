"""`CallerStore`: callers, their policies as JSON documents, and the digests of their API keys.

Invariants
- Members are only ever added to the policy document. A missing member means the default of `CallerPolicy`. An unknown
  member was written by a newer version and is never ignored, since it may forbid something.
- The newest API key of a caller is the one with the highest ordinal: the clocks of two machines may differ.
- A row that cannot be read becomes a record that allows nothing and has the reason; it never hides other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.callers.policy import DENY_ALL, CallerPolicy
from tokensvc.callers.store import CallerRecord, StoredSecret
from tokensvc.errors import CallerExists, CallerNotFound, ConcurrentModification
from tokensvc.storage import changes
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, document, instant, instant_or_none, octets, raw, text
from tokensvc.storage.schema import caller_secrets, callers

DIGEST_BYTES = 32
_UNKNOWN = datetime.fromtimestamp(0, UTC)


class SqlCallerStore:
    """See `tokensvc.callers.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, name: str, policy: CallerPolicy, secret: StoredSecret) -> CallerRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "callers")
            added = (
                insert(connection, callers)
                .values(name=name, policy=_document(policy), created_at=secret.created_at)
                .on_conflict_do_nothing(index_elements=[callers.c.name])
                .returning(callers.c.name)
            )
            if connection.execute(added).first() is None:
                raise CallerExists(
                    f'caller name "{name}" is already taken (names are never reused)', subject={"caller": name}
                )
            _add_secret(connection, name, 1, secret)
            changes.bump_version(connection, "callers")
            return _get(connection, name)

    def list(self) -> list[CallerRecord]:
        with read_transaction(self._engine) as connection:
            return _records(connection)

    def get(self, name: str) -> CallerRecord:
        with read_transaction(self._engine) as connection:
            return _get(connection, name)

    def rotate_secret(self, name: str, expected_key_id: str, secret: StoredSecret, old_until: datetime) -> CallerRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "callers")
            damaged = _get(connection, name).damaged_secrets
            of_caller = caller_secrets.c.caller == name
            newest = sa.select(sa.func.max(caller_secrets.c.ordinal)).where(of_caller).scalar_subquery()
            expires_later = sa.or_(caller_secrets.c.expires_at.is_(None), caller_secrets.c.expires_at > old_until)
            expire = (
                sa.update(caller_secrets)
                .where(of_caller, caller_secrets.c.key_id == expected_key_id, caller_secrets.c.ordinal == newest)
                .values(expires_at=sa.case((expires_later, old_until), else_=caller_secrets.c.expires_at))
                .returning(caller_secrets.c.ordinal)
            )
            ordinal = connection.execute(expire).scalar()
            if ordinal is None:
                raise ConcurrentModification(f"caller {name} was given another API key in the meantime")
            obsolete = sa.or_(caller_secrets.c.ordinal < ordinal, caller_secrets.c.key_id.in_(list(damaged)))
            connection.execute(sa.delete(caller_secrets).where(of_caller, obsolete))
            _add_secret(connection, name, ordinal + 1, secret)
            changes.bump_version(connection, "callers")
            return _get(connection, name)

    def enable(self, name: str) -> CallerRecord:
        return self._set_disabled(name, None)

    def disable(self, name: str, at: datetime) -> CallerRecord:
        return self._set_disabled(name, at)

    def _set_disabled(self, name: str, at: datetime | None) -> CallerRecord:
        """Disable the caller at that instant, or enable it with None. If it already is, nothing changes."""
        differs = callers.c.disabled_at.is_not(None) if at is None else callers.c.disabled_at.is_(None)
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "callers")
            update = sa.update(callers).where(callers.c.name == name, differs).values(disabled_at=at)
            if connection.execute(update.returning(callers.c.name)).first():
                changes.bump_version(connection, "callers")
            return _get(connection, name)


def _add_secret(connection: sa.Connection, name: str, ordinal: int, secret: StoredSecret) -> None:
    connection.execute(sa.insert(caller_secrets).values(caller=name, ordinal=ordinal, **secret._asdict()))


def _get(connection: sa.Connection, name: str) -> CallerRecord:
    found = _records(connection, name)
    if not found:
        raise CallerNotFound(f"there is no caller {name}", subject={"caller": name})
    return found[0]


def _records(connection: sa.Connection, name: str | None = None) -> list[CallerRecord]:
    """All records, or the one of that name; always two queries."""
    of_callers = sa.select(*raw(*callers.c))
    of_secrets = sa.select(*raw(*caller_secrets.c)).order_by(caller_secrets.c.ordinal.desc())
    if name is not None:
        of_callers, of_secrets = (
            of_callers.where(callers.c.name == name),
            of_secrets.where(caller_secrets.c.caller == name),
        )
    rows = sorted(
        connection.execute(of_callers).all(), key=lambda row: str(row.name)
    )  # the databases' collations differ
    secrets: dict[str, list[StoredSecret]] = {}
    damaged: dict[str, dict[str, str]] = {}
    newest: dict[str, str] = {}
    for row in connection.execute(of_secrets):
        newest.setdefault(row.caller, str(row.key_id))
        try:
            secrets.setdefault(row.caller, []).append(_secret(row))
        except UnreadableValue as error:
            damaged.setdefault(row.caller, {})[str(row.key_id)] = str(error)
    return [
        _record(row, tuple(secrets.get(row.name, ())), damaged.get(row.name, {}))._replace(
            newest_key_id=newest.get(row.name, "")
        )
        for row in rows
    ]


def _record(row: sa.Row[Any], secrets: tuple[StoredSecret, ...], damaged: dict[str, str]) -> CallerRecord:
    try:
        disabled_at, created_at = instant_or_none(row, "disabled_at"), instant(row, "created_at")
        return CallerRecord(
            text(row, "name"), _policy(document(row, "policy")), secrets, disabled_at, created_at, "", damaged
        )
    except UnreadableValue as error:
        disabled_at = _readable_or_none(row, "disabled_at")
        return CallerRecord(str(row.name), DENY_ALL, secrets, disabled_at, _UNKNOWN, str(error), damaged)


def _readable_or_none(row: sa.Row[Any], column: str) -> datetime | None:
    """An instant, or None if its column cannot be read either."""
    try:
        return instant_or_none(row, column)
    except UnreadableValue:
        return None


def _secret(row: sa.Row[Any]) -> StoredSecret:
    digest = octets(row, "digest", DIGEST_BYTES)
    return StoredSecret(text(row, "key_id"), digest, instant(row, "created_at"), instant_or_none(row, "expires_at"))


def _document(policy: CallerPolicy) -> dict[str, Any]:
    return {
        "channels": list(policy.channels),
        "scopes": sorted(policy.scopes),
        "max_ttl_seconds": policy.max_ttl_seconds,
        "allow_anonymous_viewers": policy.allow_anonymous_viewers,
        "namespace": policy.namespace,
    }


def _policy(stored: Any) -> CallerPolicy:
    if not isinstance(stored, dict):
        raise UnreadableValue("policy is not a JSON object")
    if not stored.keys() <= _VALIDATORS.keys():
        raise UnreadableValue("policy was written by a newer version of tokensvc")
    invalid = [name for name, is_valid in _VALIDATORS.items() if not is_valid(stored.get(name, _MISSING))]
    if invalid:
        raise UnreadableValue(f"policy has an invalid {invalid[0]}")
    fields = {**stored, "channels": tuple(stored["channels"])}
    if "scopes" in fields:
        fields["scopes"] = frozenset(fields["scopes"])
    return CallerPolicy(**fields)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_MISSING: Any = object()
_VALIDATORS: dict[str, Callable[[Any], bool]] = {
    "channels": _is_list_of_text,
    "scopes": lambda value: value is _MISSING or _is_list_of_text(value),
    "max_ttl_seconds": lambda value: value is _MISSING or value is None or (type(value) is int and value >= 1),
    "allow_anonymous_viewers": lambda value: value is _MISSING or isinstance(value, bool),
    "namespace": lambda value: value is _MISSING or isinstance(value, str),
}
"""By member of the policy document, whether a value is valid."""
