"""Sample values for the store's tests, and functions that add records."""

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
    """An ARN that IVS could assign to this key."""
    return f"arn:aws:ivs:{account_region.region}:{account_region.account}:playback-key/{key_id}"


def add_key(store: Store, key_id: str, *imported_in: AccountRegion) -> None:
    """Add a key pair, imported and prepared in these accounts and regions."""
    store.keys.add(key_id, f"fingerprint of {key_id}", f"public key of {key_id}".encode(), AT)
    for account_region in imported_in:
        store.keys.record_import(key_id, account_region, key_arn(key_id, account_region), AT)


def secret(key_id: str, created_at: datetime = AT) -> StoredSecret:
    """An API key of a caller."""
    return StoredSecret(key_id, hashlib.sha256(key_id.encode()).digest(), created_at, None)


def channel(name: str, at: datetime = AT, url: str | None = "https://example.net/a.m3u8") -> ChannelRecord:
    """What IVS reported of a channel."""
    arn = f"arn:aws:ivs:us-east-1:123456789012:channel/{name}"
    return ChannelRecord(arn, url, authorized=True, checked_at=at, version=-1)


CHANNEL = channel("a").arn
FAR = 2_000_000_000
"""18 May 2033."""


MAX_STALENESS_SECONDS = 910.0
EVERYONE = ("*",)


def make_due(store: Store) -> None:
    """Make every queued entry due, claimed ones included."""
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(revocation_entries).where(QUEUED).values(due_at=0.0))


def denial(viewer: str, until: int = FAR, where: str = CHANNEL, reason: str = "") -> NewDenial:
    """A denial of this viewer."""
    return NewDenial(where, viewer_digest(where, viewer), until, reason)


def denial_id(store: Store, viewer: str, where: str = CHANNEL) -> str:
    """The id of the denial of this viewer, read from the table, since other columns of the row may be damaged."""
    with read_transaction(store.engine) as connection:
        columns = revocation_tables.denials.c
        return str(
            connection.execute(sa.select(columns.id).where(columns.digest == viewer_digest(where, viewer))).scalar_one()
        )


def revocation(name: str, *viewers: str, where: tuple[str, ...] = (CHANNEL,), **fields: Any) -> NewRevocation:
    """A revocation of these viewers, by default of one viewer with the same name."""
    return NewRevocation(name, where, viewers or (name,), **fields)


def in_flight(store: Store, race_round: int) -> list[tuple[int, int]]:
    """The entries of revocation r<round> with the versions that it requested, as a dispatcher knows them that claimed
    them before the race; they may have been raised since."""
    c = revocation_targets.c
    query = sa.select(c.entry, c.version).join(revocations, revocations.c.number == c.revocation)
    with read_transaction(store.engine) as connection:
        return [
            (row.entry, row.version) for row in connection.execute(query.where(revocations.c.id == f"r{race_round}"))
        ]
