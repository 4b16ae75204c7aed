"""Audit records are listed by filter, in pages, in the order in which they became visible, and deleted when old."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.storage.samples import CHANNEL, EVERYONE, FAR, MAX_STALENESS_SECONDS, add_key, denial
from tests.support.audit import EVENT, REQUESTER
from tokensvc.audit.record import Actor, ActorKind, AuditEvent, Outcome
from tokensvc.audit.store import AuditFilter
from tokensvc.errors import DenialNotFound, TokensvcError
from tokensvc.revocations.model import Priority
from tokensvc.revocations.store import IdempotencyKey, NewRevocation
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.schema import audit_records
from tokensvc.storage.store import Store

ALL = AuditFilter()
FULL = AuditEvent(
    actor=Actor(ActorKind.CALLER, "shop", "tsk_0"),
    action="tokens.issue",
    target=CHANNEL,
    outcome=Outcome.REFUSED,
    code="channel_not_allowed",
    rule="channels",
    request_id="r-1",
    viewer="d" * 32,
    occurrences=7,
    details={"exp": "2030-01-01T00:00:00Z"},
)


def actions(store: Store, matching: AuditFilter = ALL) -> list[str]:
    return [record.event.action for record in store.audit.list(matching, limit=100)]


def test_a_record_is_read_as_it_was_written_with_the_stores_time(store: Store) -> None:
    store.audit.append([FULL])
    [record] = store.audit.list(ALL, limit=10)
    assert record.event == FULL
    assert abs(record.at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("matching", "found"),
    [
        (AuditFilter(actor="shop"), ["tokens.issue"]),
        (AuditFilter(action="tokens"), ["tokens.issue"]),
        (AuditFilter(action="tokens.issue"), ["tokens.issue"]),
        (AuditFilter(action="token"), []),
        (AuditFilter(action="denials%"), []),
        (AuditFilter(outcome="refused"), ["tokens.issue"]),
        (AuditFilter(target=CHANNEL), ["tokens.issue"]),
        (AuditFilter(viewer="d" * 32), ["tokens.issue"]),
        (AuditFilter(since=datetime(2020, 1, 1, tzinfo=UTC)), ["tokens.issue", "denials.add"]),
        (AuditFilter(until=datetime(2020, 1, 1, tzinfo=UTC)), []),
        (AuditFilter(actor="shop", outcome="done"), []),
    ],
)
def test_a_filter_selects_by_all_its_members(store: Store, matching: AuditFilter, found: list[str]) -> None:
    store.audit.append([REQUESTER.event("denials.add"), FULL])
    assert actions(store, matching) == found


def test_pages_go_backwards_from_the_newest_and_forwards_from_a_number(store: Store) -> None:
    store.audit.append([REQUESTER.event(f"a.{number}") for number in range(5)])
    newest = store.audit.list(ALL, limit=2)
    older = store.audit.list(ALL, limit=2, before=newest[-1].number)
    assert [record.event.action for record in newest + older] == ["a.4", "a.3", "a.2", "a.1"]
    newer = store.audit.list(ALL, limit=2, after=older[-1].number)
    assert [record.event.action for record in newer] == ["a.2", "a.3"]


@pytest.mark.slow
def test_a_reader_that_follows_by_number_misses_nothing_of_concurrent_writers(store: Store) -> None:
    def write(writer: int) -> None:
        for number in range(20):
            store.audit.append([REQUESTER.event(f"w{writer}.{number}"), REQUESTER.event(f"w{writer}.{number}b")])

    seen: list[str] = []
    last = 0
    with ThreadPoolExecutor(3) as threads:
        writers = [threads.submit(write, writer) for writer in range(3)]
        while len(seen) < 120:
            finished = all(writer.done() for writer in writers)
            found = store.audit.list(ALL, limit=10, after=last)
            last = found[-1].number if found else last
            seen += [record.event.action for record in found]
            assert found or not finished, "a record was missed"
    assert len(set(seen)) == 120


def test_an_unreadable_record_hides_no_other(store: Store) -> None:
    store.audit.append([REQUESTER.event("a.1"), REQUESTER.event("a.2"), REQUESTER.event("a.3")])
    with write_transaction(store.engine) as connection:
        damaged = sa.update(audit_records).where(audit_records.c.action == "a.2")
        connection.execute(damaged.values(actor_kind="nobody"))
    assert actions(store) == ["a.3", "audit.unreadable", "a.1"]


def test_only_records_before_the_time_are_pruned_and_at_most_so_many(store: Store) -> None:
    store.audit.append([EVENT] * 3)
    now = datetime.now(UTC)
    assert store.audit.prune(now - timedelta(hours=1), 10) == 0
    assert store.audit.prune(now + timedelta(hours=1), 2) == 2
    assert len(actions(store)) == 1


def test_each_denial_that_is_written_is_recorded_and_an_unchanged_one_is_not(store: Store) -> None:
    [added] = store.denials.add("shop", [denial("v")], event=REQUESTER.event("denials.add"))
    store.denials.add("shop", [denial("v", FAR - 1)], event=REQUESTER.event("denials.add"))
    store.denials.remove(added.id, EVERYONE, event=REQUESTER.event("denials.remove", added.id))
    with pytest.raises(DenialNotFound):
        store.denials.remove(added.id, EVERYONE, event=REQUESTER.event("denials.remove", added.id))
    removal, addition = store.audit.list(ALL, limit=10)
    assert (removal.event.action, removal.event.target) == ("denials.remove", added.id)
    assert (addition.event.action, addition.event.target) == ("denials.add", added.id)
    assert addition.event.details == {"channel": CHANNEL, "until": "2033-05-18T03:33:20Z"}


def test_a_repeated_revocation_is_recorded_once_and_retry_and_cancel_where_they_change_something(store: Store) -> None:
    new, key = NewRevocation("r1", [CHANNEL], ["v"]), IdempotencyKey("key", b"digest")
    event = REQUESTER.event("revocations.accept", "r1")
    for _ in range(2):
        store.revocations.accept("shop", [new], Priority.BULK, MAX_STALENESS_SECONDS, key, events=[event])
    for _ in range(2):
        store.revocations.retry("r1", EVERYONE, event=REQUESTER.event("revocations.retry", "r1"))
        store.revocations.cancel("r1", EVERYONE, event=REQUESTER.event("revocations.cancel", "r1"))
    assert actions(store) == ["revocations.cancel", "revocations.accept"]


def test_a_setting_is_recorded_with_its_old_and_new_value_only_if_it_changes(store: Store) -> None:
    before = store.deployment.read()
    for _ in range(2):
        store.deployment.set_max_ttl_seconds(before.max_ttl_seconds + 1, event=REQUESTER.event("settings.update"))
        store.deployment.set_rotation(
            propagation_seconds=before.key_propagation_seconds,
            max_age_seconds=86_400.0,
            standby=before.key_standby,
            event=REQUESTER.event("settings.update"),
        )
    age, ttl = (record.event for record in store.audit.list(ALL, limit=10))
    assert ttl.details == {"max_ttl_seconds": f"{before.max_ttl_seconds} -> {before.max_ttl_seconds + 1}"}
    assert age.details == {"key_max_age_seconds": "none -> 86400.0"}


def test_rotation_requests_and_compromises_are_recorded(store: Store) -> None:
    add_key(store, "k1")
    now = datetime.now(UTC)
    store.rotation_requests.request("k9", {"us-east-1": None}, now, "me", event=REQUESTER.event("keys.rotate", "k9"))
    for _ in range(2):
        store.keys.compromise("k1", now, 0, include_standby=False, event=REQUESTER.event("keys.compromise", "k1"))
    assert actions(store) == ["keys.compromise", "keys.rotate"]


def test_without_its_record_an_act_is_not_done(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text("ALTER TABLE audit_records RENAME TO gone"))
    with pytest.raises(TokensvcError):
        store.denials.add("shop", [denial("v")], event=EVENT)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO audit_records"))
    assert store.denials.in_force(EVERYONE, limit=10) == []
