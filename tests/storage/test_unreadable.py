"""One row that cannot be read is left out, named and refused; everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.storage.samples import AT, EVERYONE, LATER, POLICY, channel, denial, denial_id, secret
from tests.storage.workers import Deployment
from tests.support.problems import texts
from tokensvc.background.denylist_sync import DAMAGED_RELOAD_SECONDS
from tokensvc.callers.policy import Caller
from tokensvc.container.service import apply_deployment_settings
from tokensvc.deployment.versions import Position
from tokensvc.deployment.workers import Heartbeat, RegionStatus
from tokensvc.errors import MaxTtlUnavailable, RowUnreadable, ViewerDenied
from tokensvc.settings import read_settings
from tokensvc.storage.engine import write_transaction
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.denylist import Denylist
from tokensvc.tokens.request import parse_token_request

JUNK = "}junk{"
NOW = int(AT.timestamp())


@pytest.fixture
def deployment(store_url: str) -> Iterator[Deployment]:
    made = Deployment(store_url)
    yield made
    made.store.close()


def damage(deployment: Deployment, table: str, column: str, value: Any, where: str, which: Any) -> None:
    """Write what no version of this service writes, and raise no version."""
    if deployment.store.engine.dialect.name == "postgresql" and column in {"policy", "undecryptable", "regions"}:
        statement = f"UPDATE {table} SET {column} = CAST(:value AS json) WHERE {where} = :which"
    else:
        statement = f"UPDATE {table} SET {column} = :value WHERE {where} = :which"
    with write_transaction(deployment.store.engine) as connection:
        assert connection.execute(sa.text(statement), {"value": value, "which": which}).rowcount == 1


def sqlite_only(deployment: Deployment) -> None:
    if deployment.store.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL keeps the types of columns, so this cannot be in a store of its")


def is_denied(denylist: Denylist, viewer: str) -> bool:
    try:
        denylist.min_session_version(channel("a").arn, viewer, NOW)
    except ViewerDenied:
        return True
    return False


POLICIES = {
    "no object": "[1, 2]",
    "no channels": '{"scopes": ["tokens:issue"]}',
    "channels of another kind": '{"channels": "*"}',
    "channels that are no text": '{"channels": [1]}',
    "a scope that is not text": '{"channels": ["*"], "scopes": [{}]}',
    "a negative life": '{"channels": ["*"], "max_ttl_seconds": -5}',
    "no life": '{"channels": ["*"], "max_ttl_seconds": 0}',
    "a life that is no number": '{"channels": ["*"], "max_ttl_seconds": "60"}',
    "a life that is true": '{"channels": ["*"], "max_ttl_seconds": true}',
    "a namespace that is not text": '{"channels": ["*"], "namespace": null}',
    "a member of a newer version": '{"channels": ["*"], "forbids": "everything"}',
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_a_caller_whose_policy_cannot_be_read_is_refused_and_the_others_are_not(
    deployment: Deployment, policy: str
) -> None:
    worker = deployment.worker()
    worker.run_once()
    damage(deployment, "callers", "policy", policy, "name", "shop")
    deployment.store.callers.add("next", POLICY, secret("next"))
    with capture_logs() as lines:
        for _ in range(2):
            worker.run_once()
    assert set(worker.current.secrets) == {"kept", "next"}
    [warning] = worker.current.damage
    assert warning.startswith("caller shop cannot be read: policy ")
    assert [line["row"] for line in lines if line["log_level"] == "error"] == [warning]
    damage(deployment, "callers", "policy", '{"channels": ["*"]}', "name", "shop")
    worker.run_once()
    assert set(worker.current.secrets) == {"shop", "kept", "next"}, "it is read again although no version rose"
    assert worker.current.damage == ()


@pytest.mark.parametrize("value", [JUNK, b"\xff\xfe", 5, "[" * 100_000])
def test_a_policy_that_is_no_json_is_the_callers_own_trouble(deployment: Deployment, value: Any) -> None:
    sqlite_only(deployment)
    damage(deployment, "callers", "policy", value, "name", "shop")
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.secrets) == {"kept"}


@pytest.mark.parametrize("column", ["disabled_at", "created_at"])
def test_a_caller_of_whom_it_cannot_be_told_whether_it_is_disabled_is_refused(
    deployment: Deployment, column: str
) -> None:
    sqlite_only(deployment)
    damage(deployment, "callers", column, JUNK, "name", "shop")
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.secrets) == {"kept"}
    assert worker.current.damage == (f"caller shop cannot be read: {column} is not a timestamp",)
    deployment.store.callers.disable("shop", LATER)


def test_a_key_of_a_caller_that_cannot_be_read_is_refused_and_its_other_key_is_not(deployment: Deployment) -> None:
    deployment.store.callers.rotate_secret("shop", "shop", secret("shop2"), LATER)
    damage(deployment, "caller_secrets", "digest", b"short", "key_id", "shop")
    worker = deployment.worker()
    worker.run_once()
    assert set(worker.current.secrets) == {"kept", "shop2"}
    assert worker.current.damage == ("key shop of caller shop cannot be read: digest is not 32 bytes",)


@pytest.mark.parametrize("value", [-5, 0, 31_536_001])
def test_a_ceiling_that_no_deployment_can_have_issues_nothing_until_it_is_set_anew(
    deployment: Deployment, value: int
) -> None:
    worker = deployment.worker()
    worker.run_once()
    damage(deployment, "deployment", "max_ttl_seconds", value, "singleton", 1)
    deployment.store.deployment.bind("local")
    deployment.store.callers.disable("kept", LATER)
    worker.run_once()
    ask = parse_token_request({"channelArn": channel("a").arn, "viewerId": "v"})
    with pytest.raises(MaxTtlUnavailable):
        authorize(Caller("shop", POLICY), ask, worker.current)
    assert "max_ttl_seconds is not an integer from 1 to" in worker.current.damage[0]
    assert set(worker.current.secrets) == {"shop"}, "what else is new counts"
    with pytest.raises(RowUnreadable, match="TOKENSVC_MAX_TTL_SECONDS"):
        apply_deployment_settings(read_settings({}), deployment.store)
    apply_deployment_settings(read_settings({"TOKENSVC_MAX_TTL_SECONDS": "600"}), deployment.store)
    worker.run_once()
    assert authorize(Caller("shop", POLICY), ask, worker.current).max_ttl_seconds == 600


@pytest.mark.parametrize("column", ["denied_until", "minimum_version"])
@pytest.mark.parametrize("value", [-1, 1 << 40, JUNK])
def test_a_denial_of_which_only_the_viewer_can_be_read_denies_for_good(
    deployment: Deployment, column: str, value: Any
) -> None:
    """Who may be denied gets no token; everybody else's denial stays what it is."""
    if value == JUNK:
        sqlite_only(deployment)
    deployment.store.denials.add("shop", [denial("v", until=1), denial("sound"), denial("free", until=1)])
    damage(deployment, "denials", column, value, "digest", denial("v").digest)
    worker = deployment.worker()
    worker.run_once()
    denied = worker.current.denylist
    assert (is_denied(denied, "v"), is_denied(denied, "sound"), is_denied(denied, "free")) == (True, True, False)
    [warning] = worker.current.damage
    assert warning.startswith(f"denial {denial('v').digest.hex()} cannot be read: {column}")


def test_a_denial_that_is_repaired_by_hand_is_read_again(deployment: Deployment) -> None:
    deployment.store.denials.add("shop", [denial("v", until=1)])
    damage(deployment, "denials", "denied_until", -1, "digest", denial("v").digest)
    worker = deployment.worker()
    worker.run_once()
    damage(deployment, "denials", "denied_until", 1, "digest", denial("v").digest)
    worker.denials.catch_up(worker.loaded_versions)
    assert is_denied(worker.denials.denylist, "v")
    worker.denials.catch_up(worker.loaded_versions._replace(now=worker.loaded_versions.now + DAMAGED_RELOAD_SECONDS))
    assert not is_denied(worker.denials.denylist, "v")
    assert worker.denials.damaged == {}


def test_a_denial_that_cannot_be_read_can_be_removed(deployment: Deployment) -> None:
    damage(deployment, "denials", "denied_until", 1 << 40, "digest", denial("kept").digest)
    worker = deployment.worker()
    worker.run_once()
    deployment.store.denials.remove(denial_id(deployment.store, "kept"), EVERYONE)
    worker.run_once()
    assert not is_denied(worker.current.denylist, "kept")
    assert worker.current.damage == ()


def test_a_denial_of_nobody_hides_no_other(deployment: Deployment) -> None:
    damage(deployment, "denials", "digest", b"", "digest", denial("undone").digest)
    worker = deployment.worker()
    worker.run_once()
    assert is_denied(worker.current.denylist, "kept")
    assert worker.current.damage == ("denial  cannot be read: digest is not 16 bytes",)


def test_pages_full_of_rows_that_cannot_be_read_end_nothing(deployment: Deployment) -> None:
    store = deployment.store
    for viewer in range(4):
        store.denials.add("shop", [denial(f"v{viewer}", until=1)])
        damage(deployment, "denials", "digest", bytes([viewer]), "digest", denial(f"v{viewer}").digest)
    store.denials.add("shop", [denial("last")])
    seen, position, is_last = [], Position(), False
    while not is_last:
        page = store.denials.changed_since(position, 1)
        seen += [row.digest for row in page.rows]
        position, is_last = page.position, page.is_last
    assert denial("last").digest in seen


@pytest.mark.parametrize(("column", "value"), [("playback_url", 5), ("checked_at", JUNK), ("version", JUNK)])
def test_a_channel_that_cannot_be_read_is_unknown_and_ivs_is_asked_again(
    deployment: Deployment, column: str, value: Any
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


def test_a_channel_of_another_form_is_left_out(deployment: Deployment) -> None:
    deployment.store.channels.record([channel("bad")])
    damage(deployment, "channels", "arn", "no arn", "arn", channel("bad").arn)
    worker = deployment.worker()
    worker.run_once()
    assert worker.current.damage == ("channel no arn cannot be read: arn is not a channel ARN",)


def test_a_heartbeat_that_cannot_be_read_keeps_its_lease_and_hides_no_other(deployment: Deployment) -> None:
    store = deployment.store
    news = (RegionStatus("us-east-1", 1, 0, "", None, 1.0),)
    for name in ("a", "b"):
        store.workers.record_heartbeat(
            Heartbeat(name, "here", 1, 900.0, 1, 1, 5.0, undecryptable=("k1",), regions=news)
        )
    damage(deployment, "workers", "undecryptable", "5", "worker_id", "a")
    damage(deployment, "workers", "regions", '[{"unknown": 1}]', "worker_id", "b")
    first, second = (worker.heartbeat for worker in store.workers.list())
    assert {(said.lease_seconds, said.store_timeout_seconds) for said in (first, second)} == {(900.0, 5.0)}
    assert texts(first.problems) == texts(second.problems) == ["this worker's heartbeat cannot be read"]
