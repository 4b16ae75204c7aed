"""`KeyStore`: key pairs and what each is in each place.

Rules of the file
- Every change holds `keys` first, so changes to keys happen one after the other; each move is still one
  UPDATE … WHERE <the state it was decided on>.
- A move that `keys/lifecycle.MOVES` does not have is a ConcurrentModification: somebody else moved the key first.
- A row that cannot be read is part of its key's record all the same: the pair fills a slot, and must not be taken for
  one that nobody knows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import Action, ConcurrentModification, Conflict, KeyNotFound, Remedy, RowUnreadable
from tokensvc.keys.lifecycle import TRANSITIONS, KeyPlacement, KeyRecord, KeyState, UnreadablePlacement, successor
from tokensvc.storage import changes
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
            elsewhere = sa.select(key_pairs.c.longest_ttl_seconds).where(key_pairs.c.id == key_id)
            longest = connection.execute(elsewhere).scalar_one()
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
            now_in = _require_placement(connection, key_id, account_region)
            longest = max(now_in.longest_ttl_seconds, longest_ttl_seconds, _max_ttl_seconds(connection))
            retires = now_in.state is KeyState.RETIRING
            if now_in.deleting_at is not None or (retires and now_in.retiring_at != retiring_since):
                raise ConcurrentModification(f"the key is {now_in.state} in {account_region.region} and on its way out")
            if now_in.state is not KeyState.ACTIVE:
                former = _active_key_id(connection, account_region)
                if former is not None:
                    _move(connection, former, account_region, KeyState.ACTIVE, KeyState.RETIRING, retiring_at=at)
                was_retiring_at = now_in.retiring_at if temporary else None
                began = {"activated_at": at, "retiring_at": was_retiring_at}
                _move(connection, key_id, account_region, now_in.state, KeyState.ACTIVE, **began)
            elif longest == now_in.longest_ttl_seconds:
                return _get(connection, key_id)
            connection.execute(
                sa.update(key_placements)
                .where(*_is_placement(key_id, account_region))
                .values(longest_ttl_seconds=longest)
            )
            changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def start_deletion(self, seen: KeyPlacement, at: datetime) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            now_in = _require_placement(connection, seen.key_id, seen.account_region)
            signs = now_in.state is KeyState.ACTIVE
            drains = now_in.state in {KeyState.RETIRING, KeyState.PREPARED}
            if signs or (drains and now_in.retiring_at != seen.retiring_at):
                raise ConcurrentModification(
                    f"the key has signed in {seen.account_region.region} in the meantime, so its pair stays for now"
                )
            if now_in.deleting_at is None:
                begun = (
                    sa.update(key_placements)
                    .where(*_is_placement(seen.key_id, seen.account_region))
                    .values(deleting_at=at)
                )
                connection.execute(begun)
                changes.bump_version(connection, "keys")
            return _get(connection, seen.key_id)

    def record_deletion(
        self, key_id: str, account_region: AccountRegion, at: datetime, *, others_may_have_signed: bool = False
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            now_in = _require_placement(connection, key_id, account_region)
            if now_in.state is KeyState.ACTIVE:
                raise ConcurrentModification(
                    f"the key is active in {account_region.region}, so its pair is not deleted there"
                )
            if now_in.retired_at is None:
                _record_gone(connection, now_in, at)
                if others_may_have_signed:
                    _start_drains(connection, account_region, at, _max_ttl_seconds(connection))
                changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def record_absence(
        self, seen: KeyPlacement, at: datetime, propagation_seconds: float, *, unable: Collection[str] = frozenset()
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            changes.lock_version(connection, "keys")
            key_id, place = seen.key_id, seen.account_region
            now_in = _require_placement(connection, key_id, place)
            if now_in.arn != seen.arn:
                raise ConcurrentModification(f"the key is known as another pair in {place.region} by now")
            if now_in.retired_at is None:
                _record_gone(connection, now_in, at)
                if now_in.state is KeyState.ACTIVE:
                    _replace_lost_key(connection, place, unable, at, propagation_seconds)
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
    ) -> KeyRecord:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            changes.lock_version(connection, "keys")
            _compromise_unreadable_rows(connection, _get(connection, key_id), at)
            bad = {key_id} | (_keys_that_never_signed(connection) if include_standby else set())
            marked = (
                sa.update(key_pairs)
                .where(key_pairs.c.id.in_(bad), key_pairs.c.compromised_at.is_(None))
                .values(compromised_at=at)
                .returning(key_pairs.c.id)
            )
            if connection.execute(marked).all():
                _compromise_keys(connection, bad, bad.union(unable), at, propagation_seconds)
                if others_may_have_signed:
                    for there in _get(connection, key_id).placements:
                        _start_drains(connection, there.account_region, at, _max_ttl_seconds(connection))
                changes.bump_version(connection, "keys")
            return _get(connection, key_id)

    def discard(self, key_id: str) -> None:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            if connection.execute(sa.select(key_placements.c.key_id).where(key_placements.c.key_id == key_id)).first():
                raise ConcurrentModification("IVS holds, or held, this key: its record stays")
            gone = sa.delete(key_pairs).where(key_pairs.c.id == key_id).returning(key_pairs.c.id)
            if connection.execute(gone).first():
                changes.bump_version(connection, "keys")


def _compromise_unreadable_rows(connection: sa.Connection, record: KeyRecord, at: datetime) -> None:
    """Compromise what of this key cannot be read: no state is lost, and the pair is deleted if that repairs the row."""
    if record.damage:
        unknown = sa.update(key_placements).where(
            key_placements.c.key_id == record.id, key_placements.c.state.not_in(_STATES)
        )
        connection.execute(unknown.values(state=KeyState.COMPROMISED, compromised_at=at))
        itself = sa.update(key_pairs).where(key_pairs.c.id == record.id)
        connection.execute(itself.values(compromised_at=None))  # marked next, whatever it held
        changes.bump_version(connection, "keys")


def _raise_longest_ttl(connection: sa.Connection, key_id: str, public_der: bytes, seconds: int) -> bool:
    """Let tokens of a known key, minted elsewhere, live so long; whether that is new."""
    known = sa.select(key_pairs.c.id).where(key_pairs.c.id == key_id, key_pairs.c.public_der == public_der)
    if connection.execute(known).first() is None:
        raise Conflict("the store knows a key with this id or this public half already")
    told = False
    for table, column in ((key_pairs, key_pairs.c.id), (key_placements, key_placements.c.key_id)):
        shorter = sa.update(table).where(column == key_id, table.c.longest_ttl_seconds < seconds)
        told |= bool(connection.execute(shorter.values(longest_ttl_seconds=seconds).returning(column)).all())
    return told


def _keys_that_never_signed(connection: sa.Connection) -> set[str]:
    """Keys that stand ready, or were only made."""
    signed = sa.select(key_placements.c.key_id).where(key_placements.c.activated_at.is_not(None))
    return set(connection.execute(sa.select(key_pairs.c.id).where(key_pairs.c.id.not_in(signed))).scalars())


def _mark_stray_import(
    connection: sa.Connection, key_id: str, account_region: AccountRegion, arn: str, at: datetime
) -> None:
    """A retired key's pair turned up once more: it is to be deleted."""
    taken = sa.select(key_placements.c.key_id).where(key_placements.c.arn == arn)
    if connection.execute(taken).first() is not None:
        raise ConcurrentModification(f"another key is recorded under this ARN in {account_region.region}")
    back = sa.update(key_placements).where(
        *_is_placement(key_id, account_region), key_placements.c.retired_at.is_not(None)
    )
    back = back.values(arn=arn, imported_at=at, deleting_at=at, retired_at=None)
    if connection.execute(back.returning(key_placements.c.key_id)).first() is None:
        raise ConcurrentModification(f"another import of this key is recorded in {account_region.region}")


def _compromise_keys(
    connection: sa.Connection, bad: set[str], unfit: set[str], at: datetime, propagation_seconds: float
) -> None:
    """Compromise the bad keys everywhere; where one of them signed, the best that is fit signs from now on."""
    ceiling = _max_ttl_seconds(connection)
    pairs = [there for record in _records(connection) for there in record.placements]
    left: dict[AccountRegion, KeyPlacement | None] = {}
    for pair in pairs:
        if pair.key_id in bad and pair.state is not KeyState.COMPROMISED:
            _move(connection, pair.key_id, pair.account_region, pair.state, KeyState.COMPROMISED, compromised_at=at)
            if pair.state is KeyState.ACTIVE:
                others = [p for p in pairs if p.account_region == pair.account_region and p.key_id not in unfit]
                left[pair.account_region] = successor(others, at, propagation_seconds)
    for best in left.values():
        if best is not None:
            _promote(connection, best, at, ceiling)


def _record_gone(connection: sa.Connection, there: KeyPlacement, at: datetime) -> None:
    """IVS holds the pair no more: the key is retired there, or stays compromised."""
    if there.state in {KeyState.COMPROMISED, KeyState.RETIRED}:
        ended = (
            sa.update(key_placements).where(*_is_placement(there.key_id, there.account_region)).values(retired_at=at)
        )
        connection.execute(ended)
    else:
        _move(connection, there.key_id, there.account_region, there.state, KeyState.RETIRED, retired_at=at)


def _replace_lost_key(
    connection: sa.Connection,
    account_region: AccountRegion,
    unfit: Collection[str],
    at: datetime,
    propagation_seconds: float,
) -> None:
    """The place has lost its active key without our doing: see `KeyStore.record_absence`."""
    ceiling = _max_ttl_seconds(connection)
    here = [
        there
        for record in _records(connection)
        for there in record.placements
        if there.account_region == account_region
    ]
    best = successor([there for there in here if there.key_id not in unfit], at, propagation_seconds)
    if best is not None:
        _promote(connection, best, at, ceiling)
    _start_drains(connection, account_region, at, ceiling)


def _start_drains(connection: sa.Connection, account_region: AccountRegion, at: datetime, ceiling: int) -> None:
    """Each key there that does not sign may have signed up to now, without the store's knowledge, for the ceiling."""
    idle = (*_is_in(account_region), key_placements.c.state.in_([KeyState.PREPARED, KeyState.RETIRING]))
    connection.execute(sa.update(key_placements).where(*idle).values(retiring_at=at))
    shorter = sa.update(key_placements).where(*idle, key_placements.c.longest_ttl_seconds < ceiling)
    connection.execute(shorter.values(longest_ttl_seconds=ceiling))


def _max_ttl_seconds(connection: sa.Connection) -> int:
    seconds: int = connection.execute(sa.select(deployment.c.max_ttl_seconds)).scalar_one()
    return seconds


def _promote(connection: sa.Connection, best: KeyPlacement, at: datetime, ceiling: int) -> None:
    longest = max(best.longest_ttl_seconds, ceiling)
    stands_in_since = best.retiring_at if best.state is KeyState.RETIRING else None
    began = {
        "activated_at": best.activated_at or at,
        "retiring_at": stands_in_since,
        "longest_ttl_seconds": longest,
    }
    _move(connection, best.key_id, best.account_region, best.state, KeyState.ACTIVE, **began)


def _move(
    connection: sa.Connection, key_id: str, account_region: AccountRegion, was: KeyState, to: KeyState, **values: Any
) -> None:
    moved = (
        sa.update(key_placements)
        .where(*_is_placement(key_id, account_region), key_placements.c.state == was)
        .values(state=to, **values)
    )
    if to not in TRANSITIONS[was] or connection.execute(moved.returning(key_placements.c.key_id)).first() is None:
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
    except UnreadableValue as problem:
        raise RowUnreadable(
            f"key {key_id} cannot be read in {account_region.region}: {problem}",
            subject={"key_id": key_id, "region": account_region.region},
            remedy=Remedy(Action.DIAGNOSE),
        ) from None


def _require_placement(connection: sa.Connection, key_id: str, account_region: AccountRegion) -> KeyPlacement:
    found = _find_placement(connection, key_id, account_region)
    if found is None:
        _get(connection, key_id)
        raise ConcurrentModification(
            f"the key is not known to be in {account_region.region}",
            subject={"key_id": key_id, "region": account_region.region},
        )
    return found


def _get(connection: sa.Connection, key_id: str) -> KeyRecord:
    found = _records(connection, key_id)
    if not found:
        raise KeyNotFound(f"there is no key {key_id}", subject={"key_id": key_id})
    return found[0]


def _records(connection: sa.Connection, key_id: str | None = None) -> list[KeyRecord]:
    """All records, or the one of that id: two queries however many there are."""
    pairs = sa.select(*raw(*key_pairs.c)).order_by(key_pairs.c.created_at, key_pairs.c.id)
    inside = sa.select(*raw(*key_placements.c)).order_by(key_placements.c.account, key_placements.c.region)
    if key_id is not None:
        pairs, inside = pairs.where(key_pairs.c.id == key_id), inside.where(key_placements.c.key_id == key_id)
    rows, places = connection.execute(pairs).all(), dict[str, list[sa.Row[Any]]]()
    for row in connection.execute(inside):
        places.setdefault(row.key_id, []).append(row)
    return [_record(row, places.get(row.id, [])) for row in rows]


def _record(row: sa.Row[Any], placements: Sequence[sa.Row[Any]]) -> KeyRecord:
    damage: list[str] = []
    there: list[KeyPlacement] = []
    unreadable: list[UnreadablePlacement] = []
    try:
        fingerprint, public_der = text(row, "fingerprint"), octets(row, "public_der")
        created_at, compromised_at = instant(row, "created_at"), instant_or_none(row, "compromised_at")
    except UnreadableValue as problem:  # it may be compromised, so it signs nowhere
        damage.append(str(problem))
        fingerprint, public_der, created_at, compromised_at = "", b"", _UNKNOWN, None
    is_sound = not damage
    for place in placements:
        try:
            if is_sound:
                there.append(_placement(place))
            else:
                unreadable.append(_unreadable_placement(place))
        except UnreadableValue as problem:
            damage.append(f"in {place.region} {problem}")
            unreadable.append(_unreadable_placement(place))
    why = "; ".join(damage)
    return KeyRecord(
        str(row.id), fingerprint, public_der, created_at, tuple(there), compromised_at, why, tuple(unreadable)
    )


def _unreadable_placement(row: sa.Row[Any]) -> UnreadablePlacement:
    place = AccountRegion(account=str(row.account), region=str(row.region))
    return UnreadablePlacement(str(row.key_id), place, str(row.arn), row.retired_at is None)


def _placement(row: sa.Row[Any]) -> KeyPlacement:
    """Raises Unreadable."""
    if row.state not in _STATES:
        raise UnreadableValue("state is none that a key can be in")
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
