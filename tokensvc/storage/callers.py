"""`CallerStore`: callers, their policies as JSON documents, and the digests of their API keys.

Invariants
- Members are only ever added to the policy document. A missing member means the default of `CallerPolicy`. An unknown
  member was written by a newer version and is never ignored, since it may forbid something.
- The newest API key of a caller is the one with the highest ordinal: the clocks of two machines may differ.
- The columns `issuer` and `audience` are those of the policy of a caller that is not disabled. All writers hold the
  lock of the version `callers`, so `_login_columns` sees every other caller; the database's unique index is a second
  guard.
- A row that cannot be read becomes a record that allows nothing and has the reason; it never hides other rows.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.callers.policy import DENY_ALL, CallerPolicy
from tokensvc.callers.policy_changes import changed_members
from tokensvc.callers.policy_document import document_of, parse_policy
from tokensvc.callers.store import CallerChange, CallerRecord, LastUse, StoredSecret
from tokensvc.errors import CallerExists, CallerNotFound, ConcurrentModification, Conflict, InvalidRequest
from tokensvc.storage.audit import record_events
from tokensvc.storage.changes import bump_version, lock_version
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, document, instant, instant_or_none, octets, raw, text
from tokensvc.storage.schema import caller_secrets, callers

DIGEST_BYTES = 32
ROWS_OF_A_STATEMENT = 500
"""SQLite and PostgreSQL limit the parameters of a statement, to 32,766 and 65,535, and each has the store's timeout."""
_T = TypeVar("_T")
_UNKNOWN = datetime.fromtimestamp(0, UTC)


class SqlCallerStore:
    """See `tokensvc.callers.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, name: str, policy: CallerPolicy, secret: StoredSecret, event: AuditEvent) -> CallerRecord:
        return self.apply([CallerChange(name, None, policy, None, secret)], secret.created_at, event)[0]

    def apply(self, changes: Sequence[CallerChange], at: datetime, event: AuditEvent) -> list[CallerRecord]:
        with write_transaction(self._engine) as connection:
            lock_version(connection, "callers")
            names = [change.name for change in changes]
            present = _by_name(connection, names)
            for change in changes:
                _check(change, present.get(change.name))
            logins = _logins(connection, without=present)
            rows = {change.name: _row(change, logins) for change in changes}
            _update(connection, [rows[name] for name in present])
            _add(connection, [change for change in changes if change.before is None], rows, at)
            if changes:
                bump_version(connection, "callers")
            for part in _parts(changes):
                record_events(connection, [_event_of(event, change) for change in part])
            records = _by_name(connection, names)
            return [records[name] for name in names]

    def list(self) -> list[CallerRecord]:
        with read_transaction(self._engine) as connection:
            return _records(connection)

    def get(self, name: str) -> CallerRecord:
        with read_transaction(self._engine) as connection:
            return _get(connection, name)

    def rotate_secret(
        self, name: str, expected_key_id: str, secret: StoredSecret, old_until: datetime, event: AuditEvent
    ) -> CallerRecord:
        with write_transaction(self._engine) as connection:
            lock_version(connection, "callers")
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
            bump_version(connection, "callers")
            record = _get(connection, name)
            details = {"key_id": secret.key_id, "previous_key_id": expected_key_id, "until": old_until.isoformat()}
            record_events(connection, [event._replace(target=name, details={**event.details, **details})])
            return record

    def enable(self, name: str, event: AuditEvent) -> CallerRecord:
        return self._set_disabled(name, None, event)

    def disable(self, name: str, at: datetime, event: AuditEvent) -> CallerRecord:
        return self._set_disabled(name, at, event)

    def _set_disabled(self, name: str, at: datetime | None, event: AuditEvent) -> CallerRecord:
        """Disable the caller at that instant, or enable it with None. If it already is, nothing changes."""
        differs = callers.c.disabled_at.is_not(None) if at is None else callers.c.disabled_at.is_(None)
        with write_transaction(self._engine) as connection:
            lock_version(connection, "callers")
            login = _login_columns(_logins(connection), name, _get(connection, name).policy, at)
            update = sa.update(callers).where(callers.c.name == name, differs).values(disabled_at=at, **login)
            changed = connection.execute(update.returning(callers.c.name)).first()
            if changed:
                bump_version(connection, "callers")
            record = _get(connection, name)
            if changed:
                record_events(connection, [event._replace(target=name)])
            return record

    def record_last_uses(self, uses: Mapping[str, LastUse]) -> None:
        c = caller_secrets.c
        with write_transaction(self._engine) as connection:
            lock_version(connection, "callers")  # so that two transactions never wait for each other's rows
            earlier = sa.or_(c.last_used_at.is_(None), c.last_used_at < sa.bindparam("at", type_=c.last_used_at.type))
            update = (
                sa.update(caller_secrets)
                .where(c.key_id == sa.bindparam("id"), earlier)
                .values(last_used_at=sa.bindparam("at"), last_used_from=sa.bindparam("address"))
            )
            rows = [{"id": key_id, "at": use.at, "address": use.address} for key_id, use in uses.items()]
            if rows:
                connection.execute(update, rows)


def _check(change: CallerChange, present: CallerRecord | None) -> None:
    """Raise CallerExists, CallerNotFound, ConcurrentModification or Conflict unless this caller, which is `present`
    now, can be added or changed so."""
    newest_key_id = change.secret.key_id if change.secret is not None else ""
    if change.before is None:
        if present is not None:
            raise CallerExists(
                f'caller name "{change.name}" is already taken (names are never reused)',
                subject={"caller": change.name},
            )
    elif present is None:
        raise _not_found(change.name)
    else:
        newest_key_id = present.newest_key_id
        if (present.policy, present.disabled_at) != (change.before.policy, change.before.disabled_at):
            raise ConcurrentModification(f"caller {change.name} was changed in the meantime")
    if (change.policy.bearer is None) != bool(newest_key_id):
        raise Conflict(
            f"caller {change.name} cannot become a viewer app or a backend: add a caller with another name",
            subject={"caller": change.name},
        )


def _row(change: CallerChange, logins: dict[tuple[str, str], str]) -> dict[str, Any]:
    """What the row of this caller is to be, apart from when it was created."""
    return {
        "name": change.name,
        "policy": document_of(change.policy),
        "disabled_at": change.disabled_at,
        **_login_columns(logins, change.name, change.policy, change.disabled_at),
    }


def _update(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Change the rows with these names. Two callers may exchange their issuers, so all give theirs up first."""
    of_name = callers.c.name == sa.bindparam("of")
    give_up = sa.update(callers).where(of_name).values(issuer=None, audience=None)
    _execute(connection, give_up, [{"of": row["name"]} for row in rows])
    columns = ("policy", "disabled_at", "issuer", "audience")
    update = sa.update(callers).where(of_name).values({name: sa.bindparam(f"new_{name}") for name in columns})
    _execute(
        connection, update, [{"of": row["name"], **{f"new_{name}": row[name] for name in columns}} for row in rows]
    )


def _add(
    connection: sa.Connection, added: Sequence[CallerChange], rows: Mapping[str, dict[str, Any]], at: datetime
) -> None:
    """Add the callers with their rows, and the API keys of those that have one."""
    _execute(connection, sa.insert(callers), [{"created_at": at, **rows[change.name]} for change in added])
    secrets = [
        {"caller": change.name, "ordinal": 1, **change.secret._asdict()}
        for change in added
        if change.secret is not None
    ]
    _execute(connection, sa.insert(caller_secrets), secrets)


def _execute(connection: sa.Connection, statement: sa.Executable, rows: Sequence[dict[str, Any]]) -> None:
    """Execute the statement for each row."""
    for part in _parts(rows):
        connection.execute(statement, part)


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items, as many at a time as one statement may have."""
    return (items[at : at + ROWS_OF_A_STATEMENT] for at in range(0, len(items), ROWS_OF_A_STATEMENT))


def _logins(connection: sa.Connection, without: Container[str] = ()) -> dict[tuple[str, str], str]:
    """The callers that have an issuer and audience, apart from some."""
    c = callers.c
    rows = connection.execute(sa.select(c.issuer, c.audience, c.name).where(c.issuer.is_not(None)))
    return {(row.issuer, row.audience): row.name for row in rows if row.name not in without}


def _login_columns(
    logins: dict[tuple[str, str], str], name: str, policy: CallerPolicy, disabled_at: datetime | None
) -> dict[str, str | None]:
    """Issuer and audience for the row of this caller, which are added to `logins`. Raises Conflict if another caller
    has them. A disabled caller has none, so that another can take its place."""
    if policy.bearer is None or disabled_at is not None:
        return {"issuer": None, "audience": None}
    other = logins.setdefault((policy.bearer.issuer, policy.bearer.audience), name)
    if other != name:
        raise Conflict(
            f"callers {name} and {other} have the same issuer and audience, which must be one caller's alone",
            subject={"caller": name, "other": other},
        )
    return {"issuer": policy.bearer.issuer, "audience": policy.bearer.audience}


def _event_of(event: AuditEvent, change: CallerChange) -> AuditEvent:
    """The event about one change, with what it changes."""
    before = change.before.policy if change.before is not None else None
    details = {m.member: f"{m.before} -> {m.after}".strip() for m in changed_members(before, change.policy)}
    was_disabled = change.before is not None and change.before.disabled_at is not None
    if was_disabled != (change.disabled_at is not None):
        details["disabled"] = "true" if change.disabled_at is not None else "false"
    if change.secret is not None:
        details["key_id"] = change.secret.key_id
    return event._replace(target=change.name, details={**event.details, **details})


def _add_secret(connection: sa.Connection, name: str, ordinal: int, secret: StoredSecret) -> None:
    connection.execute(sa.insert(caller_secrets).values(caller=name, ordinal=ordinal, **secret._asdict()))


def _get(connection: sa.Connection, name: str) -> CallerRecord:
    found = _records(connection, [name])
    if not found:
        raise _not_found(name)
    return found[0]


def _not_found(name: str) -> CallerNotFound:
    return CallerNotFound(f"there is no caller {name}", subject={"caller": name})


def _by_name(connection: sa.Connection, names: Sequence[str]) -> dict[str, CallerRecord]:
    """Those of these callers that exist."""
    return {record.name: record for part in _parts(names) for record in _records(connection, part)}


def _records(connection: sa.Connection, names: Sequence[str] | None = None) -> list[CallerRecord]:
    """All records, or those of these names; always two queries."""
    of_callers = sa.select(*raw(*callers.c))
    of_secrets = sa.select(*raw(*caller_secrets.c)).order_by(caller_secrets.c.ordinal.desc())
    if names is not None:
        of_callers, of_secrets = (
            of_callers.where(callers.c.name.in_(names)),
            of_secrets.where(caller_secrets.c.caller.in_(names)),
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
    address = row.last_used_from
    return StoredSecret(
        text(row, "key_id"),
        digest,
        instant(row, "created_at"),
        instant_or_none(row, "expires_at"),
        _readable_or_none(row, "last_used_at"),
        address if isinstance(address, str) else None,
    )


def _policy(stored: Any) -> CallerPolicy:
    try:
        return parse_policy(stored)
    except InvalidRequest as invalid:
        raise UnreadableValue(f"policy is invalid or was written by a newer version: {invalid.message}") from None
