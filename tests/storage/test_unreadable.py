"""An unreadable row is left out and reported; everything else continues to work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.storage.samples import AT, EVERYONE, LATER, POLICY, channel, denial, denial_id, secret
from tests.storage.workers import DatabaseDeployment
from tests.support.audit import EVENT, REQUESTER
from tests.support.problems import texts
from tokensvc.background.denylist_sync import DAMAGED_RELOAD_SECONDS
from tokensvc.callers.policy import Caller
from tokensvc.container.deployment import apply_deployment_settings
from tokensvc.deployment.versions import Position
from tokensvc.deployment.workers import Heartbeat, RegionStatus
from tokensvc.errors import MaxTtlUnavailable, RowUnreadable, ViewerDenied
from tokensvc.settings import read_settings
from tokensvc.storage.engine import write_transaction
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.denylist import Denylist
from tokensvc.tokens.request import parse_token_request

pytestmark = pytest.mark.long

JUNK = "}junk{"
NOW = int(AT.timestamp())


@pytest.fixture
def deployment(store_url: str) -> Iterator[DatabaseDeployment]:
    deployment = DatabaseDeployment(store_url)
    yield deployment
    deployment.store.close()


def damage(deployment: DatabaseDeployment, table: str, column: str, value: Any, where: str, which: Any) -> None:
    """Write a value that no version of this service writes, without raising a version."""
    if deployment.store.engine.dialect.name == "postgresql" and column in {"policy", "undecryptable", "regions"}:
        statement = f"UPDATE {table} SET {column} = CAST(:value AS json) WHERE {where} = :which"
    else:
        statement = f"UPDATE {table} SET {column} = :value WHERE {where} = :which"
    with write_transaction(deployment.store.engine) as connection:
        assert connection.execute(sa.text(statement), {"value": value, "which": which}).rowcount == 1


def sqlite_only(deployment: DatabaseDeployment) -> None:
    if deployment.store.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL enforces column types, so it cannot store this value")


def is_denied(denylist: Denylist, viewer: str) -> bool:
    try:
        denylist.min_session_version(channel("a").arn, viewer, NOW)
    except ViewerDenied:
        return True
    return False


POLICIES = {
    "not an object": "[1, 2]",
    "no channels": '{"scopes": ["tokens:issue"]}',
    "channels of another kind": '{"channels": "*"}',
    "channels that are not text": '{"channels": [1]}',
    "a scope that is not text": '{"channels": ["*"], "scopes": [{}]}',
    "a negative TTL": '{"channels": ["*"], "max_ttl_seconds": -5}',
    "a TTL of zero": '{"channels": ["*"], "max_ttl_seconds": 0}',
    "a TTL that is not a number": '{"channels": ["*"], "max_ttl_seconds": "60"}',
    "a TTL that is true": '{"channels": ["*"], "max_ttl_seconds": true}',
    "a namespace that is not text": '{"channels": ["*"], "namespace": null}',
    "a member of a newer version": '{"channels": ["*"], "forbids": "everything"}',
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_only_the_caller_with_an_unreadable_policy_is_refused(deployment: DatabaseDeployment, policy: str) -> None:
    worker = deployment.worker()
    worker.run_once()
    damage(deployment, "callers", "policy", policy, "name", "shop")
    deployment.store.callers.add("next", POLICY, secret("next"), EVENT)
    with capture_logs() as lines:
        for _ in range(2):
            worker.run_once()
    assert set(worker.current.secrets) == {"kept", "next"}
    [warning] = worker.current.damage
    assert warning.startswith("caller shop cannot be read: policy ")
    assert [line["row"] for line in lines if line["log_level"] == "error"] == [warning]
    damage(deployment, "callers", "policy", '{"channels": ["*"]}', "name", "shop")
    worker.run_once()
    assert set(worker.current.secrets) == {"shop", "kept", "next"}, "it is read again although no version was raised"
    assert worker.current.damage == ()


@pytest.mark.parametrize("value", [JUNK, b"\xff\xfe", 5, "[" * 100_000])
def test_a_policy_that_is_not_json_affects_only_its_caller(deployment: DatabaseDeployment, value: Any) -> None:
    sqlite_only(deployment)
    damage(deployment, "callers", "policy", value, "name", "shop")
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.secrets) == {"kept"}


@pytest.mark.parametrize("column", ["disabled_at", "created_at"])
def test_a_caller_with_an_unreadable_time_is_refused(deployment: DatabaseDeployment, column: str) -> None:
    sqlite_only(deployment)
    damage(deployment, "callers", column, JUNK, "name", "shop")
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.secrets) == {"kept"}
    assert worker.current.damage == (f"caller shop cannot be read: {column} is not a timestamp",)
    deployment.store.callers.disable("shop", LATER, EVENT)


def test_only_the_unreadable_api_key_of_a_caller_is_refused(deployment: DatabaseDeployment) -> None:
    deployment.store.callers.rotate_secret("shop", "shop", secret("shop2"), LATER, EVENT)
    damage(deployment, "caller_secrets", "digest", b"short", "key_id", "shop")
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.secrets) == {"kept", "shop2"}
    assert worker.current.damage == ("API key shop of caller shop cannot be read: digest is not 32 bytes",)


@pytest.mark.parametrize("value", [-5, 0, 31_536_001])
def test_a_ceiling_that_no_deployment_can_have_issues_nothing_until_it_is_set_anew(
    deployment: DatabaseDeployment, value: int
) -> None:
    worker = deployment.worker()
    worker.run_once()
    damage(deployment, "deployment", "max_ttl_seconds", value, "singleton", 1)
    deployment.store.deployment.bind("local")
    deployment.store.callers.disable("kept", LATER, EVENT)
    worker.run_once()
    request = parse_token_request({"channelArn": channel("a").arn, "viewerId": "v"})
    with pytest.raises(MaxTtlUnavailable):
        authorize(Caller("shop", POLICY), request, worker.current)
    assert "max_ttl_seconds is not an integer from 1 to" in worker.current.damage[0]
    assert {name for name, known in worker.current.secrets.items() if not known.disabled} == {"shop"}, (
        "other changes apply"
    )
    with pytest.raises(RowUnreadable, match="TOKENSVC_MAX_TTL_SECONDS"):
        apply_deployment_settings(read_settings({}), deployment.store, REQUESTER)
    apply_deployment_settings(read_settings({"TOKENSVC_MAX_TTL_SECONDS": "600"}), deployment.store, REQUESTER)
    worker.run_once()
    assert authorize(Caller("shop", POLICY), request, worker.current).limits.max_ttl_seconds == 600


@pytest.mark.parametrize("column", ["denied_until", "minimum_version"])
@pytest.mark.parametrize("value", [-1, 1 << 40, JUNK])
def test_an_unreadable_denial_denies_its_viewer_permanently(
    deployment: DatabaseDeployment, column: str, value: Any
) -> None:
    """The viewer may be denied, so it gets no token; other denials stay unchanged."""
    if value == JUNK:
        sqlite_only(deployment)
    deployment.store.denials.add("shop", [denial("v", until=1), denial("sound"), denial("free", until=1)], event=EVENT)
    damage(deployment, "denials", column, value, "digest", denial("v").digest)
    worker = deployment.worker()
    worker.run_once()
    denied = worker.current.denylist
    assert (is_denied(denied, "v"), is_denied(denied, "sound"), is_denied(denied, "free")) == (True, True, False)
    [warning] = worker.current.damage
    assert warning.startswith(f"denial {denial('v').digest.hex()} cannot be read: {column}")


def test_a_repaired_denial_is_read_again(deployment: DatabaseDeployment) -> None:
    deployment.store.denials.add("shop", [denial("v", until=1)], event=EVENT)
    damage(deployment, "denials", "denied_until", -1, "digest", denial("v").digest)
    worker = deployment.worker()
    worker.run_once()
    damage(deployment, "denials", "denied_until", 1, "digest", denial("v").digest)
    worker.denials.catch_up(worker.loaded_versions)
    assert is_denied(worker.denials.denylist, "v")
    worker.denials.catch_up(worker.loaded_versions._replace(now=worker.loaded_versions.now + DAMAGED_RELOAD_SECONDS))
    assert not is_denied(worker.denials.denylist, "v")
    assert worker.denials.damaged == {}


def test_an_unreadable_denial_can_be_removed(deployment: DatabaseDeployment) -> None:
    damage(deployment, "denials", "denied_until", 1 << 40, "digest", denial("kept").digest)
    worker = deployment.worker()
    worker.run_once()
    deployment.store.denials.remove(denial_id(deployment.store, "kept"), EVERYONE, event=EVENT)
    worker.run_once()
    assert not is_denied(worker.current.denylist, "kept")
    assert worker.current.damage == ()


def test_a_denial_without_a_digest_hides_no_other(deployment: DatabaseDeployment) -> None:
    damage(deployment, "denials", "digest", b"", "digest", denial("undone").digest)
    worker = deployment.worker()
    worker.run_once()
    assert is_denied(worker.current.denylist, "kept")
    assert worker.current.damage == ("denial  cannot be read: digest is not 16 bytes",)


def test_pages_of_unreadable_rows_do_not_end_the_reading(deployment: DatabaseDeployment) -> None:
    store = deployment.store
    for viewer in range(4):
        store.denials.add("shop", [denial(f"v{viewer}", until=1)], event=EVENT)
        damage(deployment, "denials", "digest", bytes([viewer]), "digest", denial(f"v{viewer}").digest)
    store.denials.add("shop", [denial("last")], event=EVENT)
    seen, position, is_last = [], Position(), False
    while not is_last:
        page = store.denials.changed_since(position, 1)
        seen += [row.digest for row in page.rows]
        position, is_last = page.position, page.is_last
    assert denial("last").digest in seen


@pytest.mark.parametrize(("column", "value"), [("playback_url", 5), ("checked_at", JUNK), ("version", JUNK)])
def test_an_unreadable_channel_is_unknown_until_ivs_reports_it_again(
    deployment: DatabaseDeployment, column: str, value: Any
) -> None:
    sqlite_only(deployment)
    store, bad = deployment.store, channel("bad")
    store.channels.record([bad])
    damage(deployment, "channels", column, b"\xff" if value == 5 else value, "arn", bad.arn)
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.channels) == {channel("kept").arn}
    assert worker.current.damage[0].startswith(f"channel {bad.arn} cannot be read: {column}")
    assert store.channels.get([bad.arn, channel("kept").arn])[0].arn == channel("kept").arn
    store.channels.record([bad])
    worker.run_once()
    assert set(worker.current.channels) == {channel("kept").arn, bad.arn}
    assert worker.current.damage == ()


def test_a_channel_with_an_invalid_arn_is_left_out(deployment: DatabaseDeployment) -> None:
    deployment.store.channels.record([channel("bad")])
    damage(deployment, "channels", "arn", "no arn", "arn", channel("bad").arn)
    worker = deployment.worker()
    worker.run_once()
    assert worker.current.damage == ("channel no arn cannot be read: arn is not a channel ARN",)


def test_an_unreadable_heartbeat_keeps_its_lease_and_hides_no_other(deployment: DatabaseDeployment) -> None:
    store = deployment.store
    regions = (RegionStatus("us-east-1", 1, 0, "", None, 1.0),)
    for name in ("a", "b"):
        store.workers.record_heartbeat(
            Heartbeat(name, "here", 1, 900.0, 1, 1, 5.0, undecryptable=("k1",), regions=regions)
        )
    damage(deployment, "workers", "undecryptable", "5", "worker_id", "a")
    damage(deployment, "workers", "regions", '[{"unknown": 1}]', "worker_id", "b")
    first, second = (worker.heartbeat for worker in store.workers.list())
    assert {(heartbeat.lease_seconds, heartbeat.store_timeout_seconds) for heartbeat in (first, second)} == {
        (900.0, 5.0)
    }
    assert texts(first.problems) == texts(second.problems) == ["this worker's heartbeat cannot be read"]
