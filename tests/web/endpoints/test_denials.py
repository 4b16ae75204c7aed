"""`/v1/denials…`: who gets no token, until when, and for whom that is to be seen."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.storage.samples import CHANNEL
from tests.support.keks import WRAPPER
from tests.support.multi_tenant_app import OTHER, READER, TENANT_A, TENANT_B, WRITER, MultiTenantApp
from tokensvc.storage.store import Store
from tokensvc.timestamps import rfc3339, unix_seconds
from tokensvc.tokens.denylist import viewer_digest
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE

LEAST = {"channelArn": CHANNEL, "viewerId": "ada", "denySeconds": 60}


@pytest.fixture
def counter(store: Store) -> MultiTenantApp:
    return MultiTenantApp(store)


def listed(counter: MultiTenantApp, query: str = "", **who: str) -> list[str]:
    said = counter.request("GET", f"/v1/denials?{query}", **who)
    assert said.status == 200, said.body
    return [one["id"] for one in said.json["denials"]]


def test_a_denial_lasts_for_deny_seconds_and_never_shows_the_viewer(counter: MultiTenantApp) -> None:
    [denial] = counter.deny(reason="banned")
    assert re.fullmatch("[0-9a-f]{32}", denial["id"])
    assert (denial["channelArn"], denial["reason"], denial["caller"]) == (CHANNEL, "banned", "all")
    assert unix_seconds(denial["until"]) - counter.clock.now() == pytest.approx(60, abs=2)
    shown = counter.request("GET", "/v1/denials")
    assert (shown.json["denials"], b"ada" in shown.body) == ([denial], False)


def test_nothing_shown_is_derived_from_the_viewer(counter: MultiTenantApp) -> None:
    """A digest without a key would be found by trying viewer ids, which are short: ids and page tokens are random."""
    counter.deny(where="*")
    counter.deny()
    page = counter.request("GET", "/v1/denials?maxResults=1")
    assert page.json["nextToken"]
    for where in (CHANNEL, "*"):
        assert viewer_digest(where, "ada").hex().encode() not in page.body


def test_a_denial_can_end_at_a_given_time(counter: MultiTenantApp) -> None:
    until = rfc3339(int(counter.clock.now()) + 3600)
    body = {"channelArn": CHANNEL, "viewerId": "ada", "until": until}
    assert counter.request("POST", "/v1/denials", body).json["denials"][0]["until"] == until


def test_an_existing_denial_that_ends_later_is_kept(counter: MultiTenantApp) -> None:
    [first] = counter.deny(denySeconds=3600, reason="for an hour")
    assert counter.deny(denySeconds=60, reason="for a minute") == [first]


def test_a_denial_covers_several_channels_or_all(counter: MultiTenantApp) -> None:
    body = {"channelArns": [CHANNEL, OTHER], "viewerId": "ada", "denySeconds": 60}
    kept = counter.request("POST", "/v1/denials", body).json["denials"]
    assert [denial["channelArn"] for denial in kept] == [CHANNEL, OTHER]
    [everywhere] = counter.deny(where="*")
    assert listed(counter, "channelArn=*") == [everywhere["id"]]
    assert listed(counter, "channelArn=*&viewerId=ada") == [everywhere["id"]]
    assert len(listed(counter)) == 3


def test_a_subject_is_denied_under_every_viewer_id_it_ever_had(counter: MultiTenantApp, store: Store) -> None:
    for version, key in enumerate((b"1" * 32, b"2" * 32), 1):
        store.deployment.add_subject_key(version, WRAPPER.encrypt_secret(SUBJECT_KEY_PURPOSE, key))
    body = {"channelArn": CHANNEL, "subject": "ada", "denySeconds": 60}
    kept = counter.request("POST", "/v1/denials", body, key=TENANT_A).json["denials"]
    assert len(kept) == 2
    assert sorted(listed(counter, f"channelArn={CHANNEL}&subject=ada", key=TENANT_A)) == sorted(d["id"] for d in kept)
    assert listed(counter, f"channelArn={CHANNEL}&subject=ada") == [], "another namespace's"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["channelArn", "until", "viewerId"]),
        (LEAST | {"channelArn": "x", "wish": 1, "viewerId": ""}, ["channelArn", "viewerId", "wish"]),
        (LEAST | {"subject": "a", "until": "2030-01-01T00:00:00Z"}, ["denySeconds", "subject"]),
        (LEAST | {"denySeconds": 0}, ["denySeconds"]),
        (LEAST | {"denySeconds": 2**31 - 1}, ["denySeconds"]),
        ({"channelArn": CHANNEL, "viewerId": "ada", "until": "2020-01-01T00:00:00Z"}, ["until"]),
        ({"channelArn": CHANNEL, "viewerId": "ada", "until": "2039-01-01T00:00:00Z"}, ["until"]),
        ({"channelArns": ["*"], "viewerId": "ada", "denySeconds": 60}, ["channelArns[0]"]),
    ],
)
def test_every_bad_field_is_reported_together(counter: MultiTenantApp, body: dict[str, Any], fields: list[str]) -> None:
    said = counter.request("POST", "/v1/denials", body)
    assert said.status == 422
    assert sorted(error["field"] for error in said.json["errors"]) == fields
    assert listed(counter) == []


def test_lists_are_paged_newest_first(counter: MultiTenantApp) -> None:
    ids = [counter.deny(f"v{number}")[0]["id"] for number in range(3)]
    page = counter.request("GET", "/v1/denials?maxResults=2").json
    assert [one["id"] for one in page["denials"]] == [ids[2], ids[1]]
    assert listed(counter, f"maxResults=2&nextToken={page['nextToken']}") == [ids[0]]
    assert listed(counter, f"channelArn={CHANNEL}&viewerId=v1") == [ids[1]]


@pytest.mark.parametrize(
    ("query", "field"), [("viewerId=ada", "channelArn"), ("nextToken=1", "nextToken"), ("state=queued", "state")]
)
def test_a_bad_query_parameter_is_rejected_by_name(counter: MultiTenantApp, query: str, field: str) -> None:
    said = counter.request("GET", f"/v1/denials?{query}")
    assert (said.status, [error["field"] for error in said.json["errors"]]) == (422, [field])


def test_a_denial_can_be_removed(counter: MultiTenantApp) -> None:
    [denial] = counter.deny()
    said = counter.request("DELETE", f"/v1/denials/{denial['id']}")
    assert (said.status, said.body, listed(counter)) == (204, b"", [])
    again = counter.request("DELETE", f"/v1/denials/{denial['id']}")
    assert (again.status, again.json["code"]) == (404, "denial_not_found")


@pytest.mark.parametrize("path", ["x", "0" * 32, "%00", "F" * 32])
def test_an_unknown_id_is_404(counter: MultiTenantApp, path: str) -> None:
    said = counter.request("DELETE", f"/v1/denials/{path}")
    assert (said.status, said.json["code"]) == (404, "denial_not_found")


def test_a_tenant_cannot_deny_list_or_readmit_another_tenants_viewers(counter: MultiTenantApp) -> None:
    [theirs] = counter.deny(where=OTHER, key=TENANT_B)
    [everywhere] = counter.deny(where="*")
    for channel in (OTHER, "*"):
        said = counter.request("POST", "/v1/denials", LEAST | {"channelArn": channel}, key=TENANT_A)
        assert (said.status, said.json["code"]) == (403, "channel_not_allowed")
        assert counter.request("GET", f"/v1/denials?channelArn={channel}", key=TENANT_A).status == 403
    for denial in (theirs, everywhere):
        assert counter.request("DELETE", f"/v1/denials/{denial['id']}", key=TENANT_A).status == 404
    assert listed(counter, key=TENANT_A) == []
    assert listed(counter) == [everywhere["id"], theirs["id"]]


def test_each_route_requires_its_scope(counter: MultiTenantApp) -> None:
    [denial] = counter.deny()
    for method, path, body, key in (
        ("POST", "/v1/denials", LEAST, READER),
        ("DELETE", f"/v1/denials/{denial['id']}", None, READER),
        ("GET", "/v1/denials", None, WRITER),
    ):
        said = counter.request(method, path, body, key=key)
        assert (said.status, said.json["code"]) == (403, "insufficient_scope")
    assert listed(counter) == [denial["id"]]
