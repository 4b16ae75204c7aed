"""The writes that make revocations durable, within the transaction of `SqlRevocationStore.accept`.

Invariants
- The versions `revocations` and `denials` are locked, in this order, so rows that were read are unchanged when they are
  written back.
- The number of queries depends only on the number of batches (dialect.QUERY_BATCH_SIZE): everything is read first,
  then changed in memory, then written.
- Revocations and entries take their numbers from one counter, in the order of acceptance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.revocations.model import (
    Priority,
    RevocationState,
    denied_until,
    readmit_after,
    restriction_after,
    versions_up_to,
)
from tokensvc.revocations.queue import INTERACTIVE_MAX
from tokensvc.revocations.store import AcceptedRevocation, NewRevocation
from tokensvc.storage import changes, denials
from tokensvc.storage.denials import DenialRow
from tokensvc.storage.dialect import chunked
from tokensvc.storage.revocation_tables import QUEUED, UNFINISHED, revocation_entries, revocation_targets, revocations
from tokensvc.tokens.denylist import viewer_digest

_entries = revocation_entries.c


def write_revocations(
    connection: sa.Connection,
    caller: str,
    new_revocations: Sequence[NewRevocation],
    priority: Priority,
    max_staleness_seconds: float,
    now: float,
) -> list[AcceptedRevocation]:
    """Write these revocations, with their targets, queue entries, minimum versions and denials. `now`: the store's
    clock."""
    before = changes.lock_version(connection, "revocations")
    changes.lock_version(connection, "denials")
    viewers = {viewer_digest(*who): who for new in new_revocations for who in product(new.channel_arns, new.viewer_ids)}
    account_regions = {parse_arn(channel, "channel").account_region for channel, _ in viewers.values()}
    rows = {digest: DenialRow(digest, channel) for digest, (channel, _) in viewers.items()}
    pending = _PendingWrites(
        caller,
        max_staleness_seconds,
        now,
        priorities={where: _effective_priority(connection, caller, where, priority) for where in account_regions},
        denial_rows=rows | denials.read_rows(connection, list(viewers)),
        queued=_lock_queued_entries(connection, viewers),
        number=before,
    )
    accepted = [pending.add(new) for new in new_revocations]
    pending.write(connection)
    changes.bump_version(connection, "revocations", by=pending.number - before)
    return accepted


@dataclass
class _PendingWrites:
    """The changes of one request, before they are written."""

    caller: str
    max_staleness_seconds: float
    now: float
    priorities: dict[AccountRegion, Priority]
    denial_rows: dict[bytes, DenialRow]
    """By viewer digest."""
    queued: dict[bytes, dict[str, Any]]
    """By viewer digest, the queued entry: one from the store, or a new one."""
    number: int
    """The last number that was assigned."""
    updated: dict[int, dict[str, Any]] = field(default_factory=dict)
    added: dict[int, dict[str, Any]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def add(self, new: NewRevocation) -> AcceptedRevocation:
        """Add one revocation."""
        number = self._next_number()
        until = denied_until(self.now, self.max_staleness_seconds, new.issued_before, new.deny_seconds)
        highest = readmit = 0
        for channel, viewer in dict.fromkeys(product(new.channel_arns, new.viewer_ids)):
            digest = viewer_digest(channel, viewer)
            row = self.denial_rows[digest].denied(until, self.caller, new.reason, self.now)
            version = versions_up_to(self.now, self.max_staleness_seconds, row.restriction, new.issued_before)
            row = row.with_minimum(restriction_after(self.now, row.restriction, version, new.issued_before))
            self.denial_rows[digest] = row
            entry = self._enqueue(digest, channel, viewer, version)
            self.targets.append({"revocation": number, "entry": entry, "version": version, "cancelled": False})
            highest = max(highest, version)
            readmit = max(readmit, readmit_after(self.now, self.max_staleness_seconds, version, row.restriction))
        self.records.append(
            {"number": number, "id": new.id, "caller": self.caller, "reason": new.reason}
            | {"accepted_at": self.now, "readmit_after": readmit}
        )
        return AcceptedRevocation(new.id, highest, readmit)

    def write(self, connection: sa.Connection) -> None:
        """Write all changes."""
        denials.write_rows(connection, list(self.denial_rows.values()))
        if self.updated:
            update = sa.update(revocation_entries).where(_entries.id == sa.bindparam("which"))
            connection.execute(
                update.values(version=sa.bindparam("to_version"), priority=sa.bindparam("to_priority")),
                [
                    {"which": id_, "to_version": row["version"], "to_priority": row["priority"]}
                    for id_, row in self.updated.items()
                ],
            )
        if self.added:
            connection.execute(sa.insert(revocation_entries), list(self.added.values()))
        connection.execute(sa.insert(revocations), self.records)
        connection.execute(sa.insert(revocation_targets), self.targets)

    def _enqueue(self, digest: bytes, channel: str, viewer: str, version: int) -> int:
        """Queue this viewer of this channel up to that version, in a new entry or the queued one; return its id."""
        account_region = parse_arn(channel, "channel").account_region
        priority = self.priorities[account_region]
        entry = self.queued.get(digest)
        if entry is None:
            entry = {"id": self._next_number(), "digest": digest, "channel_arn": channel, "viewer_id": viewer}
            entry |= {**account_region._asdict(), "caller": self.caller, "version": version, "priority": priority}
            entry |= {"state": RevocationState.QUEUED, "attempts": 0, "queued_at": self.now, "due_at": self.now}
            entry |= {"finished_at": None, "code": "", "message": ""}
            self.queued[digest] = self.added[entry["id"]] = entry
        else:
            entry["version"], entry["priority"] = max(entry["version"], version), min(entry["priority"], priority)
            if entry["id"] not in self.added:
                self.updated[entry["id"]] = entry
        return int(entry["id"])

    def _next_number(self) -> int:
        self.number += 1
        return self.number


def _effective_priority(
    connection: sa.Connection, caller: str, account_region: AccountRegion, priority: Priority
) -> Priority:
    """The requested priority, or BULK if the caller has reached INTERACTIVE_MAX."""
    if priority is not Priority.INTERACTIVE:
        return priority
    queued = (
        sa.select(_entries.id)
        .where(QUEUED, _entries.account == account_region.account, _entries.region == account_region.region)
        .where(_entries.priority == Priority.INTERACTIVE, _entries.caller == caller)
        .limit(INTERACTIVE_MAX)
    )
    waiting = connection.execute(sa.select(sa.func.count()).select_from(queued.subquery())).scalar_one()
    return Priority.INTERACTIVE if waiting < INTERACTIVE_MAX else Priority.BULK


def _lock_queued_entries(connection: sa.Connection, digests: Iterable[bytes]) -> dict[bytes, dict[str, Any]]:
    """Lock and return the queued entries of these viewers, by digest.

    If a dispatcher records an outcome for one of them at the same time, either we see its outcome, or it sees the
    version to which we raise the entry.
    """
    ids: list[int] = []
    for batch in chunked(digests):
        ids += connection.execute(sa.select(_entries.id).where(UNFINISHED, _entries.digest.in_(batch))).scalars()
    found: dict[bytes, dict[str, Any]] = {}
    for batch_of_ids in chunked(sorted(ids)):  # in the order of ids, as dispatchers do, which prevents deadlocks
        rows = lock_entries(connection, batch_of_ids)
        found |= {row["digest"]: row for row in rows if row["state"] == RevocationState.QUEUED}
    return found


def lock_entries(connection: sa.Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Lock these entries until the transaction ends, and return them in the order of their ids."""
    columns = (_entries.id, _entries.digest, _entries.version, _entries.priority, _entries.state)
    query = sa.select(*columns).where(_entries.id.in_(ids)).order_by(_entries.id).with_for_update()
    return [dict(row) for row in connection.execute(query).mappings()]
