"""Contract of `CallerStore`."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.storage.query_counts import counted
from tests.storage.samples import AT, LATER, POLICY, secret
from tokensvc.callers.policy import DENY_ALL, CallerPolicy
from tokensvc.callers.store import CallerRecord, StoredSecret
from tokensvc.errors import CallerExists, CallerNotFound, ConcurrentModification, Conflict
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

FULL = CallerPolicy(
    channels=("arn:aws:ivs:us-east-1:123456789012:channel/*", "arn:aws:ivs:*:1*:channel/b"),
    scopes=frozenset({"tokens:issue", "keys:read"}),
    max_ttl_seconds=120,
    allow_anonymous_viewers=True,
    namespace="shop",
)


@pytest.mark.parametrize("policy", [POLICY, FULL, CallerPolicy(channels=(), scopes=frozenset())])
def test_a_caller_is_found_as_it_was_added(store: Store, policy: CallerPolicy) -> None:
    added = store.callers.add("backend", policy, secret("s1"))
    assert added == CallerRecord("backend", policy, (secret("s1"),), None, AT, newest_key_id="s1")
    assert store.callers.get("backend") == added
    assert store.callers.list() == [added]


def test_every_field_of_a_policy_is_stored(store: Store) -> None:
    """`FULL` differs from the defaults in every field, so a missing field shows."""
    for field in dataclasses.fields(CallerPolicy):
        assert getattr(FULL, field.name) != field.default
    assert store.callers.add("backend", FULL, secret("s1")).policy == FULL


def test_a_name_is_never_reused(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"))
    store.callers.disable("backend", AT)
    with pytest.raises(CallerExists):
        store.callers.add("backend", POLICY, secret("s2"))


def test_a_key_id_belongs_to_one_caller(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"))
    with pytest.raises(Conflict):
        store.callers.add("another", POLICY, secret("s1"))
    assert [caller.name for caller in store.callers.list()] == ["backend"]


def test_callers_are_listed_by_name_in_two_queries(store: Store) -> None:
    names = ["b", "B", "a-b", "ab", "Ä", "_"]
    for name in names:
        store.callers.add(name, POLICY, secret(f"s of {name}"))
    with counted(store.engine) as queries:
        assert [caller.name for caller in store.callers.list()] == sorted(names)
    assert len(queries) == 2


def test_an_unknown_caller_is_not_found(store: Store) -> None:
    with pytest.raises(CallerNotFound):
        store.callers.get("backend")
    with pytest.raises(CallerNotFound):
        store.callers.disable("backend", AT)
    with pytest.raises(CallerNotFound):
        store.callers.rotate_secret("backend", "s1", secret("s2"), LATER)


def test_rotation_lets_the_old_secret_expire_later(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"))
    rotated = store.callers.rotate_secret("backend", "s1", secret("s2", LATER), LATER + timedelta(days=1))
    old = secret("s1")._replace(expires_at=LATER + timedelta(days=1))
    assert rotated.secrets == (secret("s2", LATER), old)
    assert store.callers.get("backend") == rotated


def test_a_third_secret_deletes_the_first(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"))
    store.callers.rotate_secret("backend", "s1", secret("s2"), LATER)
    rotated = store.callers.rotate_secret("backend", "s2", secret("s3"), LATER)
    assert [stored.key_id for stored in rotated.secrets] == ["s3", "s2"]


def test_the_newest_secret_is_the_last_added_whatever_its_time(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1", LATER))
    rotated = store.callers.rotate_secret("backend", "s1", secret("s2", AT), LATER)
    assert [stored.key_id for stored in rotated.secrets] == ["s2", "s1"]


def test_rotation_never_extends_a_secret(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1")._replace(expires_at=AT))
    rotated = store.callers.rotate_secret("backend", "s1", secret("s2"), LATER)
    assert rotated.secrets[1].expires_at == AT


@pytest.mark.parametrize("expected", ["s1", "s3", "of another"])
def test_a_rotation_from_a_secret_that_is_not_the_newest_is_refused(store: Store, expected: str) -> None:
    store.callers.add("another", POLICY, secret("of another"))
    store.callers.add("backend", POLICY, secret("s1"))
    before = store.callers.rotate_secret("backend", "s1", secret("s2"), LATER)
    with pytest.raises(ConcurrentModification):
        store.callers.rotate_secret("backend", expected, secret("s4"), LATER)
    assert store.callers.get("backend") == before


def test_disabling_again_keeps_the_first_time(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"))
    assert store.callers.disable("backend", AT).disabled_at == AT
    assert store.callers.disable("backend", LATER).disabled_at == AT
    assert store.callers.list()[0].disabled_at == AT


def test_enabling_again_changes_nothing(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"))
    store.callers.disable("backend", AT)
    before = store.versions.read().callers.number
    assert store.callers.enable("backend").disabled_at is None
    assert store.callers.enable("backend").secrets == (secret("s1"),)
    assert store.versions.read().callers.number == before + 1
    with pytest.raises(CallerNotFound):
        store.callers.enable("nobody")


def write_policy(store: Store, document: dict[str, Any]) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(schema.callers).values(policy=document))


def test_a_policy_of_an_older_version_gets_the_defaults(store: Store) -> None:
    store.callers.add("backend", FULL, secret("s1"))
    write_policy(store, {"channels": ["*"]})
    assert store.callers.get("backend").policy == CallerPolicy(channels=("*",))


def test_a_policy_of_a_newer_version_is_refused(store: Store) -> None:
    """An unknown member may forbid something."""
    store.callers.add("backend", FULL, secret("s1"))
    write_policy(store, {"channels": ["*"], "only_on_weekdays": True})
    stored = store.callers.get("backend")
    assert stored.policy == DENY_ALL
    assert "newer version" in stored.damage


def test_no_digest_shows_in_a_repr(store: Store) -> None:
    caller = store.callers.add("backend", POLICY, StoredSecret("s1", b"the digest", AT, None))
    assert "the digest" not in repr(caller)
