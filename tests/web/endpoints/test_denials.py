"""`/v1/denials…`: creating, listing and removing denials, per tenant."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.storage.samples import CHANNEL
from tests.support.keks import CIPHER
from tests.support.multi_tenant_app import OTHER_CHANNEL, READER, TENANT_A, TENANT_B, WRITER, MultiTenantApp
from tokensvc.storage.store import Store
from tokensvc.timestamps import rfc3339, unix_seconds
from tokensvc.tokens.denylist import viewer_digest
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE

MINIMAL = {"channelArn": CHANNEL, "viewerId": "ada", "denySeconds": 60}


@pytest.fixture
def app(store: Store) -> MultiTenantApp:
    return MultiTenantApp(store)


def listed(app: MultiTenantApp, query: str = "", **options: str) -> list[str]:
    response = app.request("GET", f"/v1/denials?{query}", **options)
    assert response.status == 200, response.body
    return [denial["id"] for denial in response.json["denials"]]


def test_a_denial_lasts_for_deny_seconds_and_never_shows_the_viewer(app: MultiTenantApp) -> None:
    [denial] = app.deny(reason="banned")
    assert re.fullmatch("[0-9a-f]{32}", denial["id"])
    assert (denial["channelArn"], denial["reason"], denial["caller"]) == (CHANNEL, "banned", "all")
    assert unix_seconds(denial["until"]) - app.clock.now() == pytest.approx(60, abs=2)
    shown = app.request("GET", "/v1/denials")
    assert (shown.json["denials"], b'"ada"' in shown.body) == ([denial], False)


def test_nothing_shown_is_derived_from_the_viewer(app: MultiTenantApp) -> None:
    """An unkeyed digest could be found by trying viewer ids, which are short; so ids and page tokens are random."""
    app.deny(channel_arn="*")
    app.deny()
    page = app.request("GET", "/v1/denials?maxResults=1")
    assert page.json["nextToken"]
    for where in (CHANNEL, "*"):
        assert viewer_digest(where, "ada").hex().encode() not in page.body


def test_a_denial_can_end_at_a_given_time(app: MultiTenantApp) -> None:
    until = rfc3339(int(app.clock.now()) + 3600)
    body = {"channelArn": CHANNEL, "viewerId": "ada", "until": until}
    assert app.request("POST", "/v1/denials", body).json["denials"][0]["until"] == until


def test_an_existing_denial_that_ends_later_is_kept(app: MultiTenantApp) -> None:
    [first] = app.deny(denySeconds=3600, reason="for an hour")
    assert app.deny(denySeconds=60, reason="for a minute") == [first]


def test_a_denial_covers_several_channels_or_all(app: MultiTenantApp) -> None:
    body = {"channelArns": [CHANNEL, OTHER_CHANNEL], "viewerId": "ada", "denySeconds": 60}
    denials = app.request("POST", "/v1/denials", body).json["denials"]
    assert [denial["channelArn"] for denial in denials] == [CHANNEL, OTHER_CHANNEL]
    [everywhere] = app.deny(channel_arn="*")
    assert listed(app, "channelArn=*") == [everywhere["id"]]
    assert listed(app, "channelArn=*&viewerId=ada") == [everywhere["id"]]
    assert len(listed(app)) == 3


def test_a_subject_is_denied_under_every_viewer_id_it_ever_had(app: MultiTenantApp, store: Store) -> None:
    for version, key in enumerate((b"1" * 32, b"2" * 32), 1):
        store.deployment.add_subject_key(version, CIPHER.encrypt_secret(SUBJECT_KEY_PURPOSE, key))
    body = {"channelArn": CHANNEL, "subject": "ada", "denySeconds": 60}
    denials = app.request("POST", "/v1/denials", body, key=TENANT_A).json["denials"]
    assert len(denials) == 2
    assert sorted(listed(app, f"channelArn={CHANNEL}&subject=ada", key=TENANT_A)) == sorted(d["id"] for d in denials)
    assert listed(app, f"channelArn={CHANNEL}&subject=ada") == [], "another namespace's"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["channelArn", "until", "viewerId"]),
        (MINIMAL | {"channelArn": "x", "unknown": 1, "viewerId": ""}, ["channelArn", "unknown", "viewerId"]),
        (MINIMAL | {"subject": "a", "until": "2030-01-01T00:00:00Z"}, ["denySeconds", "subject"]),
        (MINIMAL | {"denySeconds": 0}, ["denySeconds"]),
        (MINIMAL | {"denySeconds": 2**31 - 1}, ["denySeconds"]),
        ({"channelArn": CHANNEL, "viewerId": "ada", "until": "2020-01-01T00:00:00Z"}, ["until"]),
        ({"channelArn": CHANNEL, "viewerId": "ada", "until": "2039-01-01T00:00:00Z"}, ["until"]),
        ({"channelArns": ["*"], "viewerId": "ada", "denySeconds": 60}, ["channelArns[0]"]),
    ],
)
def test_every_bad_field_is_reported_together(app: MultiTenantApp, body: dict[str, Any], fields: list[str]) -> None:
    response = app.request("POST", "/v1/denials", body)
    assert response.status == 422
    assert sorted(error["field"] for error in response.json["errors"]) == fields
    assert listed(app) == []


def test_lists_are_paged_newest_first(app: MultiTenantApp) -> None:
    ids = [app.deny(f"v{number}")[0]["id"] for number in range(3)]
    page = app.request("GET", "/v1/denials?maxResults=2").json
    assert [denial["id"] for denial in page["denials"]] == [ids[2], ids[1]]
    assert listed(app, f"maxResults=2&nextToken={page['nextToken']}") == [ids[0]]
    assert listed(app, f"channelArn={CHANNEL}&viewerId=v1") == [ids[1]]


@pytest.mark.parametrize(
    ("query", "field"), [("viewerId=ada", "channelArn"), ("nextToken=1", "nextToken"), ("state=queued", "state")]
)
def test_a_bad_query_parameter_is_rejected_by_name(app: MultiTenantApp, query: str, field: str) -> None:
    response = app.request("GET", f"/v1/denials?{query}")
    assert (response.status, [error["field"] for error in response.json["errors"]]) == (422, [field])


def test_a_denial_can_be_removed(app: MultiTenantApp) -> None:
    [denial] = app.deny()
    response = app.request("DELETE", f"/v1/denials/{denial['id']}")
    assert (response.status, response.body, listed(app)) == (204, b"", [])
    repeated = app.request("DELETE", f"/v1/denials/{denial['id']}")
    assert (repeated.status, repeated.json["code"]) == (404, "denial_not_found")


@pytest.mark.parametrize("path", ["x", "0" * 32, "%00", "F" * 32])
def test_an_unknown_id_is_404(app: MultiTenantApp, path: str) -> None:
    response = app.request("DELETE", f"/v1/denials/{path}")
    assert (response.status, response.json["code"]) == (404, "denial_not_found")


def test_a_tenant_cannot_deny_list_or_readmit_another_tenants_viewers(app: MultiTenantApp) -> None:
    [theirs] = app.deny(channel_arn=OTHER_CHANNEL, key=TENANT_B)
    [everywhere] = app.deny(channel_arn="*")
    for channel in (OTHER_CHANNEL, "*"):
        response = app.request("POST", "/v1/denials", MINIMAL | {"channelArn": channel}, key=TENANT_A)
        assert (response.status, response.json["code"]) == (403, "channel_not_allowed")
        assert app.request("GET", f"/v1/denials?channelArn={channel}", key=TENANT_A).status == 403
    for denial in (theirs, everywhere):
        assert app.request("DELETE", f"/v1/denials/{denial['id']}", key=TENANT_A).status == 404
    assert listed(app, key=TENANT_A) == []
    assert listed(app) == [everywhere["id"], theirs["id"]]


def test_each_route_requires_its_scope(app: MultiTenantApp) -> None:
    [denial] = app.deny()
    for method, path, body, key in (
        ("POST", "/v1/denials", MINIMAL, READER),
        ("DELETE", f"/v1/denials/{denial['id']}", None, READER),
        ("GET", "/v1/denials", None, WRITER),
    ):
        response = app.request(method, path, body, key=key)
        assert (response.status, response.json["code"]) == (403, "insufficient_scope")
    assert listed(app) == [denial["id"]]
