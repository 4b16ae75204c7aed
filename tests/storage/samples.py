"""Values that the store's tests keep, and stores with something in them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion
from tokensvc.callers.policy import CallerPolicy
from tokensvc.callers.store import StoredSecret
from tokensvc.revocations.store import NewDenial, NewRevocation
from tokensvc.storage import revocation_tables
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import QUEUED, revocation_entries, revocation_targets, revocations
from tokensvc.storage.store import Store
from tokensvc.tokens.channels import ChannelRecord
from tokensvc.tokens.denylist import viewer_digest

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
LATER = AT + timedelta(hours=1)
HERE = AccountRegion(account="123456789012", region="us-east-1")
THERE = AccountRegion(account="123456789012", region="eu-west-1")
POLICY = CallerPolicy(channels=("*",))


def key_arn(key_id: str, account_region: AccountRegion = HERE) -> str:
    """The ARN that IVS could have given to this key."""
    return f"arn:aws:ivs:{account_region.region}:{account_region.account}:playback-key/{key_id}"


def add_key(store: Store, key_id: str, *prepared_in: AccountRegion) -> None:
    """A key pair that IVS holds in these places."""
    store.keys.add(key_id, f"fingerprint of {key_id}", f"public half of {key_id}".encode(), AT)
    for place in prepared_in:
        store.keys.record_import(key_id, place, key_arn(key_id, place), AT)


def secret(key_id: str, created_at: datetime = AT) -> StoredSecret:
    """A caller's key."""
    return StoredSecret(key_id, hashlib.sha256(key_id.encode()).digest(), created_at, None)


def channel(name: str, at: datetime = AT, url: str | None = "https://example.net/a.m3u8") -> ChannelRecord:
    """What IVS said of a channel."""
    arn = f"arn:aws:ivs:us-east-1:123456789012:channel/{name}"
    return ChannelRecord(arn, url, authorized=True, checked_at=at, version=-1)


CHANNEL = channel("a").arn
FAR = 2_000_000_000
"""18 May 2033."""


MAX_STALENESS_SECONDS = 910.0
EVERYONE = ("*",)


def make_due(store: Store) -> None:
    """Let every claim lapse and every rest end."""
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(revocation_entries).where(QUEUED).values(due_at=0.0))


def denial(viewer: str, until: int = FAR, where: str = CHANNEL, reason: str = "") -> NewDenial:
    """A denial of this viewer."""
    return NewDenial(where, viewer_digest(where, viewer), until, reason)


def denial_id(store: Store, viewer: str, where: str = CHANNEL) -> str:
    """The id of the denial of this viewer, as the table has it: other facts of the row may be damaged."""
    with read_transaction(store.engine) as connection:
        columns = revocation_tables.denials.c
        return str(
            connection.execute(sa.select(columns.id).where(columns.digest == viewer_digest(where, viewer))).scalar_one()
        )


def revocation(name: str, *viewers: str, where: tuple[str, ...] = (CHANNEL,), **fields: Any) -> NewRevocation:
    """A revocation of these viewers, or of one of the same name."""
    return NewRevocation(name, where, viewers or (name,), **fields)


def in_flight(store: Store, race_round: int) -> list[tuple[int, int]]:
    """Ids of the entries of revocation r<round>, with the versions that it asked for: what a dispatcher that claimed
    them before the race has in mind, whatever they were raised to since."""
    c = revocation_targets.c
    meant = sa.select(c.entry, c.version).join(revocations, revocations.c.number == c.revocation)
    with read_transaction(store.engine) as connection:
        return [
            (row.entry, row.version) for row in connection.execute(meant.where(revocations.c.id == f"r{race_round}"))
        ]
