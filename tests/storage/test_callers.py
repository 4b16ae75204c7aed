"""Contract of `CallerStore`."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.storage.query_counts import counted
from tests.storage.samples import AT, LATER, POLICY, secret
from tests.support.audit import ACTOR, EVENT, event
from tokensvc.audit.store import AuditFilter
from tokensvc.callers.policy import DENY_ALL, BearerPolicy, CallerPolicy, ClaimRules, Rate, RateLimits
from tokensvc.callers.store import CallerChange, CallerRecord, LastUse, StoredSecret
from tokensvc.errors import CallerExists, CallerNotFound, ConcurrentModification, Conflict
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

FULL = CallerPolicy(
    channels=("arn:aws:ivs:us-east-1:123456789012:channel/*", "arn:aws:ivs:*:1*:channel/b"),
    scopes=frozenset({"tokens:issue", "keys:read"}),
    max_ttl_seconds=120,
    allow_anonymous_viewers=True,
    namespace="shop",
    required=ClaimRules(("https://app.example.com", "https://*.example.net"), strict_origin_enforcement=True),
    forced=ClaimRules(single_use=True, maximum_resolution="HD"),
    limits=RateLimits(Rate(6000, 100), Rate(6, 2), Rate(600, 60)),
    cors_origins=("https://app.example.com",),
    audit_tokens=True,
)
BEARER = BearerPolicy(
    issuer="https://login.example.com",
    audience="player",
    algorithms=("ES256", "EdDSA"),
    jwks_url="https://login.example.com/keys",
    leeway_seconds=5,
    viewer_claim="uid",
    channels_claim="channels",
    required_claims=(("email_verified", (True,)), ("plan", ("gold", 7))),
)
VIEWER_APP = CallerPolicy(channels=("*",), bearer=BEARER)


@pytest.mark.parametrize("policy", [POLICY, FULL, CallerPolicy(channels=(), scopes=frozenset())])
def test_a_caller_is_found_as_it_was_added(store: Store, policy: CallerPolicy) -> None:
    added = store.callers.add("backend", policy, secret("s1"), EVENT)
    assert added == CallerRecord("backend", policy, (secret("s1"),), None, AT, newest_key_id="s1")
    assert store.callers.get("backend") == added
    assert store.callers.list() == [added]


def test_every_field_of_a_policy_is_stored(store: Store) -> None:
    """`FULL` and `BEARER` differ from the defaults in every field, so a missing field shows."""
    for policy, of in ((FULL, CallerPolicy), (BEARER, BearerPolicy)):
        for field in dataclasses.fields(of):
            assert field.name == "bearer" or getattr(policy, field.name) != field.default
    assert store.callers.add("backend", FULL, secret("s1"), EVENT).policy == FULL
    (app,) = store.callers.apply([CallerChange("app", None, VIEWER_APP, None)], AT, EVENT)
    assert app.policy.bearer == BEARER


def test_a_name_is_never_reused(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    store.callers.disable("backend", AT, EVENT)
    with pytest.raises(CallerExists):
        store.callers.add("backend", POLICY, secret("s2"), EVENT)


def test_a_key_id_belongs_to_one_caller(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    with pytest.raises(Conflict):
        store.callers.add("another", POLICY, secret("s1"), EVENT)
    assert [caller.name for caller in store.callers.list()] == ["backend"]


def test_callers_are_listed_by_name_in_two_queries(store: Store) -> None:
    names = ["b", "B", "a-b", "ab", "Ä", "_"]
    for name in names:
        store.callers.add(name, POLICY, secret(f"s of {name}"), EVENT)
    with counted(store.engine) as queries:
        assert [caller.name for caller in store.callers.list()] == sorted(names)
    assert len(queries) == 2


def test_an_unknown_caller_is_not_found(store: Store) -> None:
    with pytest.raises(CallerNotFound):
        store.callers.get("backend")
    with pytest.raises(CallerNotFound):
        store.callers.disable("backend", AT, EVENT)
    with pytest.raises(CallerNotFound):
        store.callers.rotate_secret("backend", "s1", secret("s2"), LATER, EVENT)


def test_rotation_lets_the_old_secret_expire_later(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    rotated = store.callers.rotate_secret("backend", "s1", secret("s2", LATER), LATER + timedelta(days=1), EVENT)
    old = secret("s1")._replace(expires_at=LATER + timedelta(days=1))
    assert rotated.secrets == (secret("s2", LATER), old)
    assert store.callers.get("backend") == rotated


def test_a_third_secret_deletes_the_first(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    store.callers.rotate_secret("backend", "s1", secret("s2"), LATER, EVENT)
    rotated = store.callers.rotate_secret("backend", "s2", secret("s3"), LATER, EVENT)
    assert [stored.key_id for stored in rotated.secrets] == ["s3", "s2"]


def test_the_newest_secret_is_the_last_added_whatever_its_time(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1", LATER), EVENT)
    rotated = store.callers.rotate_secret("backend", "s1", secret("s2", AT), LATER, EVENT)
    assert [stored.key_id for stored in rotated.secrets] == ["s2", "s1"]


def test_rotation_never_extends_a_secret(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1")._replace(expires_at=AT), EVENT)
    rotated = store.callers.rotate_secret("backend", "s1", secret("s2"), LATER, EVENT)
    assert rotated.secrets[1].expires_at == AT


@pytest.mark.parametrize("expected", ["s1", "s3", "of another"])
def test_a_rotation_from_a_secret_that_is_not_the_newest_is_refused(store: Store, expected: str) -> None:
    store.callers.add("another", POLICY, secret("of another"), EVENT)
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    before = store.callers.rotate_secret("backend", "s1", secret("s2"), LATER, EVENT)
    with pytest.raises(ConcurrentModification):
        store.callers.rotate_secret("backend", expected, secret("s4"), LATER, EVENT)
    assert store.callers.get("backend") == before


def test_disabling_again_keeps_the_first_time(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    assert store.callers.disable("backend", AT, EVENT).disabled_at == AT
    assert store.callers.disable("backend", LATER, EVENT).disabled_at == AT
    assert store.callers.list()[0].disabled_at == AT


def test_enabling_again_changes_nothing(store: Store) -> None:
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    store.callers.disable("backend", AT, EVENT)
    before = store.versions.read().callers.number
    assert store.callers.enable("backend", EVENT).disabled_at is None
    assert store.callers.enable("backend", EVENT).secrets == (secret("s1"),)
    assert store.versions.read().callers.number == before + 1
    with pytest.raises(CallerNotFound):
        store.callers.enable("nobody", EVENT)


def write_policy(store: Store, document: dict[str, Any]) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(schema.callers).values(policy=document))


def test_a_policy_of_an_older_version_gets_the_defaults(store: Store) -> None:
    store.callers.add("backend", FULL, secret("s1"), EVENT)
    write_policy(store, {"channels": ["*"]})
    assert store.callers.get("backend").policy == CallerPolicy(channels=("*",))


def test_a_policy_of_a_newer_version_is_refused(store: Store) -> None:
    """An unknown member may forbid something."""
    store.callers.add("backend", FULL, secret("s1"), EVENT)
    write_policy(store, {"channels": ["*"], "only_on_weekdays": True})
    stored = store.callers.get("backend")
    assert stored.policy == DENY_ALL
    assert "newer version" in stored.damage


def test_no_digest_shows_in_a_repr(store: Store) -> None:
    caller = store.callers.add("backend", POLICY, StoredSecret("s1", b"the digest", AT, None), EVENT)
    assert "the digest" not in repr(caller)


def change(record: CallerRecord, policy: CallerPolicy, disabled_at: datetime | None = None) -> CallerChange:
    return CallerChange(record.name, record, policy, disabled_at)


def app(name: str, issuer: str, audience: str = "player") -> CallerChange:
    """A new viewer app."""
    bearer = BearerPolicy(f"https://{issuer}", audience)
    return CallerChange(name, None, CallerPolicy(channels=("*",), bearer=bearer), None)


def test_changes_are_applied_together_and_raise_the_version_once(store: Store) -> None:
    shop = store.callers.add("shop", POLICY, secret("s1"), EVENT)
    before = store.versions.read().callers.number
    new = CallerChange("new", None, POLICY, None, secret("s2"))
    records = store.callers.apply([change(shop, FULL, LATER), new], AT, EVENT)
    assert [(r.name, r.policy, r.disabled_at) for r in records] == [("shop", FULL, LATER), ("new", POLICY, None)]
    assert records[0].secrets == shop.secrets
    assert store.callers.list() == sorted(records)
    assert store.versions.read().callers.number == before + 1


@pytest.mark.long
def test_more_callers_than_a_statement_has_parameters_are_added_and_changed_together(store: Store) -> None:
    names = [f"caller-{number:05}" for number in range(33_000)]
    added = [CallerChange(name, None, POLICY, None, secret(name)) for name in names]
    records = store.callers.apply(added, AT, EVENT)
    assert [record.name for record in records] == names
    changed = store.callers.apply([change(record, record.policy, LATER) for record in records], AT, EVENT)
    assert {record.disabled_at for record in changed} == {LATER}
    assert store.callers.list() == changed


def test_of_changes_that_fail_none_is_done(store: Store) -> None:
    shop = store.callers.add("shop", POLICY, secret("s1"), EVENT)
    taken = CallerChange("shop", None, POLICY, None, secret("s2"))
    with pytest.raises(CallerExists):
        store.callers.apply([change(shop, FULL), taken], AT, EVENT)
    store.callers.disable("shop", AT, EVENT)
    events = store.audit.list(AuditFilter(), limit=10)
    with pytest.raises(ConcurrentModification):
        store.callers.apply([CallerChange("new", None, POLICY, None, secret("s2")), change(shop, FULL)], AT, EVENT)
    assert [(r.name, r.policy) for r in store.callers.list()] == [("shop", POLICY)]
    assert store.audit.list(AuditFilter(), limit=10) == events


def test_an_issuer_and_audience_belong_to_one_enabled_caller(store: Store) -> None:
    (one, two) = store.callers.apply([app("one", "a"), app("two", "b")], AT, EVENT)
    with pytest.raises(Conflict, match="callers three and one have the same issuer and audience"):
        store.callers.apply([app("three", "a")], AT, EVENT)
    with pytest.raises(Conflict, match="callers two and one"):
        store.callers.apply([change(two, one.policy)], AT, EVENT)
    store.callers.apply([app("other audience", "a", "console")], AT, EVENT)
    swapped = store.callers.apply([change(one, two.policy), change(two, one.policy)], AT, EVENT)
    assert [r.policy for r in swapped] == [two.policy, one.policy]
    store.callers.disable("two", AT, EVENT)
    store.callers.apply([app("three", "a")], AT, EVENT)
    with pytest.raises(Conflict, match="callers two and three"):
        store.callers.enable("two", EVENT)
    store.callers.disable("three", AT, EVENT)
    assert store.callers.enable("two", EVENT).disabled_at is None


def test_the_database_itself_refuses_an_issuer_and_audience_twice(store: Store) -> None:
    store.callers.apply([app("one", "a"), app("two", "b")], AT, EVENT)
    with pytest.raises(Conflict), write_transaction(store.engine) as connection:
        connection.execute(sa.update(schema.callers).values(issuer="https://a"))


def test_a_backend_never_becomes_a_viewer_app(store: Store) -> None:
    shop = store.callers.add("shop", POLICY, secret("s1"), EVENT)
    (one,) = store.callers.apply([app("one", "a")], AT, EVENT)
    for record, policy in ((shop, app("", "b").policy), (one, POLICY)):
        with pytest.raises(Conflict, match="cannot become"):
            store.callers.apply([change(record, policy)], AT, EVENT)
    with pytest.raises(Conflict, match="cannot become"):
        store.callers.apply([CallerChange("new", None, POLICY, None)], AT, EVENT)


def test_every_act_is_recorded_with_what_it_changed(store: Store) -> None:
    shop = store.callers.add("shop", CallerPolicy(("*",), max_ttl_seconds=60), secret("s1"), event("callers.add"))
    policy = dataclasses.replace(shop.policy, max_ttl_seconds=120, limits=RateLimits(viewer=Rate(6, 2)))
    store.callers.apply([change(shop, policy, AT)], AT, event("callers.apply"))
    for _ in range(2):  # the second changes nothing and is not recorded
        store.callers.enable("shop", event("callers.enable"))
    store.callers.disable("shop", AT, event("callers.disable"))
    store.callers.rotate_secret("shop", "s1", secret("s2"), LATER, event("callers.rotate_secret"))
    records = store.audit.list(AuditFilter(), limit=10, after=0)
    assert {(r.event.actor, r.event.target) for r in records} == {(ACTOR, "shop")}
    assert [(r.event.action, dict(r.event.details)) for r in records] == [
        ("callers.add", {"channels": '-> ["*"]', "max_ttl_seconds": "-> 60", "key_id": "s1"}),
        (
            "callers.apply",
            {
                "max_ttl_seconds": "60 -> 120",
                "limits.viewer.per_minute": "-> 6",
                "limits.viewer.burst": "-> 2",
                "disabled": "true",
            },
        ),
        ("callers.enable", {}),
        ("callers.disable", {}),
        ("callers.rotate_secret", {"key_id": "s2", "previous_key_id": "s1", "until": LATER.isoformat()}),
    ]


def test_the_last_use_of_a_key_is_the_latest_that_was_reported(store: Store) -> None:
    added = store.callers.add("shop", POLICY, secret("s1"), EVENT)
    versions = store.versions.read()
    assert (added.secrets[0].last_used_at, added.secrets[0].last_used_from) == (None, None)
    store.callers.record_last_uses({"s1": LastUse(LATER, "192.0.2.7"), "deleted": LastUse(LATER, "192.0.2.7")})
    store.callers.record_last_uses({"s1": LastUse(AT, "192.0.2.1")})
    (stored,) = store.callers.get("shop").secrets
    assert (stored.last_used_at, stored.last_used_from) == (LATER, "192.0.2.7")
    assert store.versions.read()._replace(now=0) == versions._replace(now=0)
    store.callers.rotate_secret("shop", "s1", secret("s2"), LATER, EVENT)
    assert [key.last_used_from for key in store.callers.get("shop").secrets] == [None, "192.0.2.7"]
