"""The one transaction by which revocations become durable; `revocations.py` is its port.

Rules of the file
- It happens under `revocations` and `denials`, held in this order: what is read is still so when it is written.
- However many revocations are accepted, the store is asked a fixed number of things for each few hundred of them: first
  all that there is, then everything is worked out, then all is written.
- Numbers of revocations and entries come from one count, in the order of acceptance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import sqlalchemy as sa

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.revocations.model import Priority, RevocationState, denied_until, readmit_after, restriction_after, versions_up_to
from tokensvc.revocations.queue import INTERACTIVE_MAX
from tokensvc.revocations.store import Accepted, NewRevocation
from tokensvc.storage import changes, denials
from tokensvc.storage.denials import DenialRow, chunked
from tokensvc.storage.revocation_tables import UNFINISHED, QUEUED, revocation_entries, revocation_targets, revocations
from tokensvc.tokens.denylist import viewer_digest

_entries = revocation_entries.c


def write_revocations(
    connection: sa.Connection,
    caller: str,
    wanted: Sequence[NewRevocation],
    priority: Priority,
    max_staleness_seconds: float,
    now: float,
) -> list[Accepted]:
    """Write everything that these revocations mean, at that instant of the store's clock."""
    before = changes.lock_version(connection, "revocations")
    changes.lock_version(connection, "denials")
    names = {viewer_digest(*who): who for new in wanted for who in product(new.channel_arns, new.viewer_ids)}
    places = {parse_arn(channel, "channel").account_region for channel, _ in names.values()}
    draft = _PendingWrites(
        caller,
        max_staleness_seconds,
        now,
        priorities={place: _effective_priority(connection, caller, place, priority) for place in places},
        standings={name: DenialRow(name, who[0]) for name, who in names.items()} | denials.read_rows(connection, list(names)),
        queued=_queued(connection, names),
        number=before,
    )
    answers = [draft.add(new) for new in wanted]
    draft.write(connection)
    changes.bump_version(connection, "revocations", by=draft.number - before)
    return answers


@dataclass
class _PendingWrites:
    """What one request changes, before it is written."""

    caller: str
    max_staleness_seconds: float
    now: float
    priorities: dict[AccountRegion, Priority]
    standings: dict[bytes, DenialRow]
    queued: dict[bytes, dict[str, Any]]
    """By digest, the queued entry: one of the store, or a new one."""
    number: int
    """The last one given."""
    raised: dict[int, dict[str, Any]] = field(default_factory=dict)
    added: dict[int, dict[str, Any]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def add(self, new: NewRevocation) -> Accepted:
        """Note one revocation."""
        number = self._next_number()
        until = denied_until(self.now, self.max_staleness_seconds, new.issued_before, new.deny_seconds)
        highest = readmit = 0
        for channel, viewer in dict.fromkeys(product(new.channel_arns, new.viewer_ids)):
            name = viewer_digest(channel, viewer)
            row = self.standings[name].denied(until, self.caller, new.reason, self.now)
            version = versions_up_to(self.now, self.max_staleness_seconds, row.standing, new.issued_before)
            row = row.raised(restriction_after(self.now, row.standing, version, new.issued_before))
            self.standings[name] = row
            entry = self._aim(name, channel, viewer, version)
            self.targets.append({"revocation": number, "entry": entry, "version": version, "cancelled": False})
            highest = max(highest, version)
            readmit = max(readmit, readmit_after(self.now, self.max_staleness_seconds, version, row.standing))
        self.records.append(
            {"number": number, "id": new.id, "caller": self.caller, "reason": new.reason}
            | {"accepted_at": self.now, "readmit_after": readmit}
        )
        return Accepted(new.id, highest, readmit)

    def write(self, connection: sa.Connection) -> None:
        """Write all of it."""
        denials.write_rows(connection, list(self.standings.values()))
        if self.raised:
            again = sa.update(revocation_entries).where(_entries.id == sa.bindparam("which"))
            connection.execute(
                again.values(version=sa.bindparam("to"), priority=sa.bindparam("nearer")),
                [{"which": id_, "to": row["version"], "nearer": row["priority"]} for id_, row in self.raised.items()],
            )
        if self.added:
            connection.execute(sa.insert(revocation_entries), list(self.added.values()))
        connection.execute(sa.insert(revocations), self.records)
        connection.execute(sa.insert(revocation_targets), self.targets)

    def _aim(self, name: bytes, channel: str, viewer: str, version: int) -> int:
        """Let the queue hold this viewer of this channel up to that version; the entry's id."""
        place = parse_arn(channel, "channel").account_region
        entry = self.queued.get(name)
        if entry is None:
            entry = {"id": self._next_number(), "digest": name, "channel_arn": channel, "viewer_id": viewer}
            entry |= {**place._asdict(), "caller": self.caller, "version": version, "priority": self.priorities[place]}
            entry |= {"state": RevocationState.QUEUED, "attempts": 0, "queued_at": self.now, "due_at": self.now}
            entry |= {"finished_at": None, "code": "", "message": ""}
            self.queued[name] = self.added[entry["id"]] = entry
        else:
            entry["version"], entry["priority"] = max(entry["version"], version), min(entry["priority"], self.priorities[place])
            if entry["id"] not in self.added:
                self.raised[entry["id"]] = entry
        return int(entry["id"])

    def _next_number(self) -> int:
        self.number += 1
        return self.number


def _effective_priority(connection: sa.Connection, caller: str, account_region: AccountRegion, priority: Priority) -> Priority:
    """The priority that was asked for, unless this caller's share of it is full."""
    if priority is not Priority.INTERACTIVE:
        return priority
    theirs = (
        sa.select(_entries.id)
        .where(QUEUED, _entries.account == account_region.account, _entries.region == account_region.region)
        .where(_entries.priority == Priority.INTERACTIVE, _entries.caller == caller)
        .limit(INTERACTIVE_MAX)
    )
    waiting = connection.execute(sa.select(sa.func.count()).select_from(theirs.subquery())).scalar_one()
    return Priority.INTERACTIVE if waiting < INTERACTIVE_MAX else Priority.BULK


def _queued(connection: sa.Connection, names: Iterable[bytes]) -> dict[bytes, dict[str, Any]]:
    """The queued entries of these viewers, locked: one that is settled at this moment is either seen as settled, or its
    settling sees what we raise it to."""
    ids: list[int] = []
    for part in chunked(names):
        ids += connection.execute(sa.select(_entries.id).where(UNFINISHED, _entries.digest.in_(part))).scalars()
    found: dict[bytes, dict[str, Any]] = {}
    for some in chunked(sorted(ids)):  # in the order of ids, as whoever settles: or each might wait for the other
        rows = lock_entries(connection, some)
        found |= {row["digest"]: row for row in rows if row["state"] == RevocationState.QUEUED}
    return found


def lock_entries(connection: sa.Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """These entries, in the order of their ids, which nobody else changes until the transaction ends."""
    columns = (_entries.id, _entries.digest, _entries.version, _entries.priority, _entries.state)
    wanted = sa.select(*columns).where(_entries.id.in_(ids)).order_by(_entries.id).with_for_update()
    return [dict(row) for row in connection.execute(wanted).mappings()]
