"""`KeyStore`: key pairs and their placements.

Invariants
- Every change locks the `keys` version first, so changes of keys are serialized. Each transition is still one
  UPDATE … WHERE <expected state>.
- A transition that is not in `keys/lifecycle.TRANSITIONS` raises ConcurrentModification: another process changed the
  key first.
- A row that cannot be read is still part of its key's record: its pair occupies a slot in IVS, and must not be taken
  for an unknown one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import Action, ConcurrentModification, Conflict, KeyNotFound, Remedy, RowUnreadable
from tokensvc.keys.lifecycle import TRANSITIONS, KeyPlacement, KeyRecord, KeyState, UnreadablePlacement, successor
from tokensvc.storage import changes
from tokensvc.storage.audit import record_events
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, flag, instant, instant_or_none, integer, octets, raw, text
from tokensvc.storage.schema import deployment, key_pairs, key_placements

_STATES = tuple(KeyState)
_UNKNOWN = datetime.fromtimestamp(0, UTC)


class SqlKeyStore:
    """See `tokensvc.keys.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(
        self, key_id: str, fingerprint: str, public_der: bytes, created_at: datetime, longest_ttl_seconds: int = 0
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            added = (
                insert(connection, key_pairs)
                .values(id=key_id, fingerprint=fingerprint, public_der=public_der, created_at=created_at)
                .values(longest_ttl_seconds=longest_ttl_seconds)
                .on_conflict_do_nothing()
                .returning(key_pairs.c.id)
            )
            if connection.execute(added).first() or _raise_longest_ttl(
                connection, key_id, public_der, longest_ttl_seconds
            ):
                changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def list(self) -> list[KeyRecord]:
        with read_transaction(self._engine) as connection:
            return _records(connection)

    def record_import(
        self,
        key_id: str,
        account_region: AccountRegion,
        arn: str,
        at: datetime,
        *,
        fingerprint_differs: bool = False,
        may_have_signed: bool = False,
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            compromised_at = _get(connection, key_id).compromised_at
            query = sa.select(key_pairs.c.longest_ttl_seconds).where(key_pairs.c.id == key_id)
            longest = connection.execute(query).scalar_one()
            if may_have_signed:
                longest = max(longest, _max_ttl_seconds(connection))
            state = KeyState.PREPARED if compromised_at is None else KeyState.COMPROMISED
            prepared = (
                insert(connection, key_placements)
                .values(key_id=key_id, **account_region._asdict(), arn=arn, imported_at=at, longest_ttl_seconds=longest)
                .values(state=state, compromised_at=compromised_at, fingerprint_differs=fingerprint_differs)
                .on_conflict_do_nothing()
                .returning(key_placements.c.key_id)
            )
            if connection.execute(prepared).first():
                changes.bump_version(connection, "keys")
            elif getattr(_find_placement(connection, key_id, account_region), "arn", None) != arn:
                _mark_stray_import(connection, key_id, account_region, arn, at)
                changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def activate(
        self,
        key_id: str,
        account_region: AccountRegion,
        at: datetime,
        longest_ttl_seconds: int,
        *,
        retiring_since: datetime | None = None,
        temporary: bool = False,
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            current = _require_placement(connection, key_id, account_region)
            longest = max(current.longest_ttl_seconds, longest_ttl_seconds, _max_ttl_seconds(connection))
            is_retiring = current.state is KeyState.RETIRING
            if current.deleting_at is not None or (is_retiring and current.retiring_at != retiring_since):
                raise ConcurrentModification(
                    f"the key is {current.state} in {account_region.region} and cannot be reactivated"
                )
            if current.state is not KeyState.ACTIVE:
                previous = _active_key_id(connection, account_region)
                if previous is not None:
                    _move(connection, previous, account_region, KeyState.ACTIVE, KeyState.RETIRING, retiring_at=at)
                retiring_at = current.retiring_at if temporary else None
                times = {"activated_at": at, "retiring_at": retiring_at}
                _move(connection, key_id, account_region, current.state, KeyState.ACTIVE, **times)
            elif longest == current.longest_ttl_seconds:
                return _get(connection, key_id)
            connection.execute(
                sa.update(key_placements)
                .where(*_is_placement(key_id, account_region))
                .values(longest_ttl_seconds=longest)
            )
            changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def start_deletion(self, placement: KeyPlacement, at: datetime) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            current = _require_placement(connection, placement.key_id, placement.account_region)
            is_active = current.state is KeyState.ACTIVE
            may_have_signed = current.state in {KeyState.RETIRING, KeyState.PREPARED}
            if is_active or (may_have_signed and current.retiring_at != placement.retiring_at):
                raise ConcurrentModification(
                    f"the key has signed in {current.account_region.region} in the meantime, so its pair stays for now"
                )
            if current.deleting_at is None:
                update = (
                    sa.update(key_placements)
                    .where(*_is_placement(placement.key_id, placement.account_region))
                    .values(deleting_at=at)
                )
                connection.execute(update)
                changes.bump_version(connection, "keys")
            return _get(connection, placement.key_id)

    def record_deletion(
        self, key_id: str, account_region: AccountRegion, at: datetime, *, others_may_have_signed: bool = False
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            current = _require_placement(connection, key_id, account_region)
            if current.state is KeyState.ACTIVE:
                raise ConcurrentModification(
                    f"the key is active in {account_region.region}, so its pair cannot be deleted there"
                )
            if current.retired_at is None:
                _record_gone(connection, current, at)
                if others_may_have_signed:
                    _start_drains(connection, account_region, at, _max_ttl_seconds(connection))
                changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def record_absence(
        self,
        placement: KeyPlacement,
        at: datetime,
        propagation_seconds: float,
        *,
        unable: Collection[str] = frozenset(),
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            changes.lock_version(connection, "keys")
            key_id, account_region = placement.key_id, placement.account_region
            current = _require_placement(connection, key_id, account_region)
            if current.arn != placement.arn:
                raise ConcurrentModification(f"another pair is now recorded for the key in {account_region.region}")
            if current.retired_at is None:
                _record_gone(connection, current, at)
                if current.state is KeyState.ACTIVE:
                    _replace_lost_key(connection, account_region, unable, at, propagation_seconds)
                changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def compromise(
        self,
        key_id: str,
        at: datetime,
        propagation_seconds: float,
        *,
        include_standby: bool,
        unable: Collection[str] = frozenset(),
        others_may_have_signed: bool = False,
        event: AuditEvent,
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            changes.lock_version(connection, "keys")
            _compromise_unreadable_rows(connection, _get(connection, key_id), at)
            compromised = {key_id} | (_keys_that_never_signed(connection) if include_standby else set())
            marked = (
                sa.update(key_pairs)
                .where(key_pairs.c.id.in_(compromised), key_pairs.c.compromised_at.is_(None))
                .values(compromised_at=at)
                .returning(key_pairs.c.id)
            )
            if connection.execute(marked).all():
                _compromise_keys(connection, compromised, compromised.union(unable), at, propagation_seconds)
                if others_may_have_signed:
                    for placement in _get(connection, key_id).placements:
                        _start_drains(connection, placement.account_region, at, _max_ttl_seconds(connection))
                changes.bump_version(connection, "keys")
                record_events(connection, [event])
            return _get(connection, key_id)

    def discard(self, key_id: str, *, event: AuditEvent) -> None:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            if connection.execute(sa.select(key_placements.c.key_id).where(key_placements.c.key_id == key_id)).first():
                raise ConcurrentModification("the key is or was imported into IVS, so its record is kept")
            gone = sa.delete(key_pairs).where(key_pairs.c.id == key_id).returning(key_pairs.c.id)
            if connection.execute(gone).first():
                changes.bump_version(connection, "keys")
                record_events(connection, [event])


def _compromise_unreadable_rows(connection: sa.Connection, record: KeyRecord, at: datetime) -> None:
    """Mark the unreadable rows of this key as compromised, overwriting only unreadable values. If that repairs a row,
    its pair will be deleted in IVS."""
    if record.damage:
        unknown = sa.update(key_placements).where(
            key_placements.c.key_id == record.id, key_placements.c.state.not_in(_STATES)
        )
        connection.execute(unknown.values(state=KeyState.COMPROMISED, compromised_at=at))
        pair = sa.update(key_pairs).where(key_pairs.c.id == record.id)
        connection.execute(pair.values(compromised_at=None))  # the caller sets it next
        changes.bump_version(connection, "keys")


def _raise_longest_ttl(connection: sa.Connection, key_id: str, public_der: bytes, seconds: int) -> bool:
    """Raise the longest lifetime of tokens that were signed elsewhere with a known key; return whether it changed."""
    known = sa.select(key_pairs.c.id).where(key_pairs.c.id == key_id, key_pairs.c.public_der == public_der)
    if connection.execute(known).first() is None:
        raise Conflict("the store already has a key with this id or this public key")
    changed = False
    for table, column in ((key_pairs, key_pairs.c.id), (key_placements, key_placements.c.key_id)):
        shorter = sa.update(table).where(column == key_id, table.c.longest_ttl_seconds < seconds)
        changed |= bool(connection.execute(shorter.values(longest_ttl_seconds=seconds).returning(column)).all())
    return changed


def _keys_that_never_signed(connection: sa.Connection) -> set[str]:
    """The ids of standby keys and of keys that were never imported."""
    signed = sa.select(key_placements.c.key_id).where(key_placements.c.activated_at.is_not(None))
    return set(connection.execute(sa.select(key_pairs.c.id).where(key_pairs.c.id.not_in(signed))).scalars())


def _mark_stray_import(
    connection: sa.Connection, key_id: str, account_region: AccountRegion, arn: str, at: datetime
) -> None:
    """Record a second import of a retired key, to be deleted."""
    taken = sa.select(key_placements.c.key_id).where(key_placements.c.arn == arn)
    if connection.execute(taken).first() is not None:
        raise ConcurrentModification(f"another key is recorded under this ARN in {account_region.region}")
    update = sa.update(key_placements).where(
        *_is_placement(key_id, account_region), key_placements.c.retired_at.is_not(None)
    )
    update = update.values(arn=arn, imported_at=at, deleting_at=at, retired_at=None)
    if connection.execute(update.returning(key_placements.c.key_id)).first() is None:
        raise ConcurrentModification(f"another import of this key is recorded in {account_region.region}")


def _compromise_keys(
    connection: sa.Connection, compromised: set[str], unusable: set[str], at: datetime, propagation_seconds: float
) -> None:
    """Compromise these keys in all placements. Where one was active, the best of the keys that are not unusable takes
    over."""
    max_ttl_seconds = _max_ttl_seconds(connection)
    placements = [placement for record in _records(connection) for placement in record.placements]
    successors: dict[AccountRegion, KeyPlacement | None] = {}
    for old in placements:
        if old.key_id in compromised and old.state is not KeyState.COMPROMISED:
            _move(connection, old.key_id, old.account_region, old.state, KeyState.COMPROMISED, compromised_at=at)
            if old.state is KeyState.ACTIVE:
                others = [p for p in placements if p.account_region == old.account_region and p.key_id not in unusable]
                successors[old.account_region] = successor(others, at, propagation_seconds)
    for best in successors.values():
        if best is not None:
            _promote(connection, best, at, max_ttl_seconds)


def _record_gone(connection: sa.Connection, placement: KeyPlacement, at: datetime) -> None:
    """IVS no longer holds the pair: the key is retired there, or stays compromised."""
    key_id, account_region = placement.key_id, placement.account_region
    if placement.state in {KeyState.COMPROMISED, KeyState.RETIRED}:
        update = sa.update(key_placements).where(*_is_placement(key_id, account_region))
        connection.execute(update.values(retired_at=at))
    else:
        _move(connection, key_id, account_region, placement.state, KeyState.RETIRED, retired_at=at)


def _replace_lost_key(
    connection: sa.Connection,
    account_region: AccountRegion,
    unusable: Collection[str],
    at: datetime,
    propagation_seconds: float,
) -> None:
    """Replace an active key that IVS no longer holds although we did not delete it; see `KeyStore.record_absence`."""
    max_ttl_seconds = _max_ttl_seconds(connection)
    candidates = [
        placement
        for record in _records(connection)
        for placement in record.placements
        if placement.account_region == account_region and placement.key_id not in unusable
    ]
    best = successor(candidates, at, propagation_seconds)
    if best is not None:
        _promote(connection, best, at, max_ttl_seconds)
    _start_drains(connection, account_region, at, max_ttl_seconds)


def _start_drains(connection: sa.Connection, account_region: AccountRegion, at: datetime, max_ttl_seconds: int) -> None:
    """Start the drains of the prepared and retiring keys there: each may have signed tokens of the deployment's longest
    lifetime until now, without the store's knowledge."""
    idle = (*_is_in(account_region), key_placements.c.state.in_([KeyState.PREPARED, KeyState.RETIRING]))
    connection.execute(sa.update(key_placements).where(*idle).values(retiring_at=at))
    shorter = sa.update(key_placements).where(*idle, key_placements.c.longest_ttl_seconds < max_ttl_seconds)
    connection.execute(shorter.values(longest_ttl_seconds=max_ttl_seconds))


def _max_ttl_seconds(connection: sa.Connection) -> int:
    seconds: int = connection.execute(sa.select(deployment.c.max_ttl_seconds)).scalar_one()
    return seconds


def _promote(connection: sa.Connection, best: KeyPlacement, at: datetime, max_ttl_seconds: int) -> None:
    """Make this the active key. One that was retiring keeps `retiring_at`, which marks it as temporary."""
    values = {
        "activated_at": best.activated_at or at,
        "retiring_at": best.retiring_at if best.state is KeyState.RETIRING else None,
        "longest_ttl_seconds": max(best.longest_ttl_seconds, max_ttl_seconds),
    }
    _move(connection, best.key_id, best.account_region, best.state, KeyState.ACTIVE, **values)


def _move(
    connection: sa.Connection, key_id: str, account_region: AccountRegion, was: KeyState, to: KeyState, **values: Any
) -> None:
    update = (
        sa.update(key_placements)
        .where(*_is_placement(key_id, account_region), key_placements.c.state == was)
        .values(state=to, **values)
    )
    if to not in TRANSITIONS[was] or connection.execute(update.returning(key_placements.c.key_id)).first() is None:
        raise ConcurrentModification(f"the key is {was} in {account_region.region}, so it cannot become {to} there")


def _is_placement(key_id: str, account_region: AccountRegion) -> tuple[sa.ColumnElement[bool], ...]:
    return key_placements.c.key_id == key_id, *_is_in(account_region)


def _is_in(account_region: AccountRegion) -> tuple[sa.ColumnElement[bool], ...]:
    return key_placements.c.account == account_region.account, key_placements.c.region == account_region.region


def _active_key_id(connection: sa.Connection, account_region: AccountRegion) -> str | None:
    active = sa.select(key_placements.c.key_id).where(
        *_is_in(account_region), key_placements.c.state == KeyState.ACTIVE
    )
    return connection.execute(active).scalar()


def _find_placement(connection: sa.Connection, key_id: str, account_region: AccountRegion) -> KeyPlacement | None:
    row = connection.execute(sa.select(*raw(*key_placements.c)).where(*_is_placement(key_id, account_region))).first()
    try:
        return None if row is None else _placement(row)
    except UnreadableValue as error:
        raise RowUnreadable(
            f"key {key_id} cannot be read in {account_region.region}: {error}",
            subject={"key_id": key_id, "region": account_region.region},
            remedy=Remedy(Action.DIAGNOSE),
        ) from None


def _require_placement(connection: sa.Connection, key_id: str, account_region: AccountRegion) -> KeyPlacement:
    found = _find_placement(connection, key_id, account_region)
    if found is None:
        _get(connection, key_id)
        raise ConcurrentModification(
            f"the key was never imported in {account_region.region}",
            subject={"key_id": key_id, "region": account_region.region},
        )
    return found


def _get(connection: sa.Connection, key_id: str) -> KeyRecord:
    found = _records(connection, key_id)
    if not found:
        raise KeyNotFound(f"there is no key {key_id}", subject={"key_id": key_id})
    return found[0]


def _records(connection: sa.Connection, key_id: str | None = None) -> list[KeyRecord]:
    """All records, or the one of that id; always two queries."""
    pairs = sa.select(*raw(*key_pairs.c)).order_by(key_pairs.c.created_at, key_pairs.c.id)
    of_placements = sa.select(*raw(*key_placements.c)).order_by(key_placements.c.account, key_placements.c.region)
    if key_id is not None:
        pairs = pairs.where(key_pairs.c.id == key_id)
        of_placements = of_placements.where(key_placements.c.key_id == key_id)
    rows, placements = connection.execute(pairs).all(), dict[str, list[sa.Row[Any]]]()
    for row in connection.execute(of_placements):
        placements.setdefault(row.key_id, []).append(row)
    return [_record(row, placements.get(row.id, [])) for row in rows]


def _record(row: sa.Row[Any], placement_rows: Sequence[sa.Row[Any]]) -> KeyRecord:
    damage: list[str] = []
    placements: list[KeyPlacement] = []
    unreadable: list[UnreadablePlacement] = []
    try:
        fingerprint, public_der = text(row, "fingerprint"), octets(row, "public_der")
        created_at, compromised_at = instant(row, "created_at"), instant_or_none(row, "compromised_at")
    except UnreadableValue as error:  # it may be compromised, so it signs nowhere
        damage.append(str(error))
        fingerprint, public_der, created_at, compromised_at = "", b"", _UNKNOWN, None
    is_readable = not damage
    for placement_row in placement_rows:
        try:
            if is_readable:
                placements.append(_placement(placement_row))
            else:
                unreadable.append(_unreadable_placement(placement_row))
        except UnreadableValue as error:
            damage.append(f"in {placement_row.region} {error}")
            unreadable.append(_unreadable_placement(placement_row))
    reason = "; ".join(damage)
    return KeyRecord(
        str(row.id), fingerprint, public_der, created_at, tuple(placements), compromised_at, reason, tuple(unreadable)
    )


def _unreadable_placement(row: sa.Row[Any]) -> UnreadablePlacement:
    account_region = AccountRegion(account=str(row.account), region=str(row.region))
    return UnreadablePlacement(str(row.key_id), account_region, str(row.arn), row.retired_at is None)


def _placement(row: sa.Row[Any]) -> KeyPlacement:
    """Raises UnreadableValue."""
    if row.state not in _STATES:
        raise UnreadableValue("state is not a state of a key")
    return KeyPlacement(
        key_id=text(row, "key_id"),
        account_region=AccountRegion(account=text(row, "account"), region=text(row, "region")),
        state=KeyState(row.state),
        arn=text(row, "arn"),
        imported_at=instant(row, "imported_at"),
        activated_at=instant_or_none(row, "activated_at"),
        retiring_at=instant_or_none(row, "retiring_at"),
        retired_at=instant_or_none(row, "retired_at"),
        longest_ttl_seconds=integer(row, "longest_ttl_seconds", 0, (1 << 31) - 1),
        compromised_at=instant_or_none(row, "compromised_at"),
        deleting_at=instant_or_none(row, "deleting_at"),
        fingerprint_differs=flag(row, "fingerprint_differs"),
    )
