"""Keys, rotations and compromises, as people are shown them (`key_models.py`).

Rules of the file
- Ages and ends are reckoned from an instant that is given, on the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tokensvc.core.instant import rfc3339
from tokensvc.core.lifecycle import KeyInPlace, KeyRecord, KeyState, drained_at
from tokensvc.core.rotation import Policy
from tokensvc.ports.journal import Entry
from tokensvc.ports.rotations import Rotation
from tokensvc.rotate.unheard import Unheard
from tokensvc.rotate.wishes import Prospect
from tokensvc.web.key_models import (
    KeyDetail,
    ProspectiveRegion,
    RotatedRegion,
    ShownKey,
    ShownPlace,
    ShownRotation,
    ShownStep,
    UnheardWorker,
)


class Moment(NamedTuple):
    """What ages and ends are reckoned from."""

    now: datetime
    policy: Policy


def key(record: KeyRecord, at: Moment) -> ShownKey:
    """A key as lists show it."""
    return ShownKey(
        id=record.id,
        fingerprint=record.fingerprint,
        created_at=instant(record.created_at),
        compromised_at=_maybe(record.compromised_at),
        damage=record.damage or None,
        places=[_place(there, at) for there in record.places],
    )


def detail(
    record: KeyRecord, at: Moment, history: Sequence[Entry], behind: Sequence[Unheard], cannot_open: Sequence[str]
) -> KeyDetail:
    """A key with its history, and who may not know of it."""
    return KeyDetail(
        **dict(key(record, at)),
        history=[_step(entry) for entry in history],
        not_heard=[unheard_worker(u) for u in behind],
        cannot_open=list(cannot_open),
    )


def rotation(wish: Rotation, signing: Mapping[str, str | None]) -> ShownRotation:
    """A wish, and by region the key that took over."""
    return ShownRotation(
        id=wish.id,
        requested_at=instant(wish.requested_at),
        requested_by=wish.requested_by,
        done=all(signing.values()),
        regions=[
            RotatedRegion(region=region, replaces=replaces, signs=signing[region])
            for region, replaces in wish.replaces.items()
        ],
    )


def prospect(record: KeyRecord, foreseen: Prospect) -> ProspectiveRegion:
    """What a compromise of this key brings about in a region."""
    longest = max(p.longest_ttl_seconds for p in record.places if p.place.region == foreseen.region)
    return ProspectiveRegion(
        region=foreseen.region,
        was_active=foreseen.was_active,
        successor=foreseen.successor,
        seconds_without_key=foreseen.seconds_without,
        tokens_of_seconds=longest,
    )


def unheard_worker(told: Unheard) -> UnheardWorker:
    """A worker that may not have heard."""
    said = told.worker.heartbeat
    return UnheardWorker(
        worker_id=said.worker_id,
        host=said.host,
        pid=said.pid,
        beat_at=instant(told.worker.beat_at),
        until=instant(told.until),
    )


def _place(there: KeyInPlace, at: Moment) -> ShownPlace:
    since = since_when(there)
    return ShownPlace(
        account=there.place.account,
        region=there.place.region,
        state=there.state,
        since=instant(since),
        age_seconds=max(0, int((at.now - since).total_seconds())),
        arn=there.arn,
        imported_at=instant(there.imported_at),
        activated_at=_maybe(there.activated_at),
        retiring_at=_maybe(there.retiring_at),
        drained_at=instant(drained_at(there, at.policy)) if there.state is KeyState.RETIRING else None,
        retired_at=_maybe(there.retired_at),
        compromised_at=_maybe(there.compromised_at),
        longest_ttl_seconds=there.longest_ttl_seconds,
        fingerprint_differs=there.fingerprint_differs,
    )


def since_when(there: KeyInPlace) -> datetime:
    """When a key came into the state that it is in."""
    match there.state:
        case KeyState.COMPROMISED:
            since = there.compromised_at
        case KeyState.RETIRED:
            since = there.retired_at
        case KeyState.RETIRING:
            since = there.retiring_at
        case KeyState.ACTIVE:
            since = there.activated_at
        case KeyState.PREPARED:
            since = there.imported_at
    return since or there.imported_at


def _step(entry: Entry) -> ShownStep:
    return ShownStep(
        step=entry.kind,
        region=entry.region or None,
        why=entry.why,
        begun_at=instant(entry.begun_at),
        ended_at=_maybe(entry.ended_at),
        outcome=entry.outcome,
    )


def instant(at: datetime) -> str:
    """An instant as JSON shows it."""
    return rfc3339(int(at.timestamp()))


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
