"""`/v1/revocations…`: durable before 202, idempotent, and separate for each tenant."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, add_key
from tests.support.keks import CIPHER
from tests.support.multi_tenant_app import (
    ALL_CHANNELS,
    OTHER_CHANNEL,
    READER,
    TENANT_A,
    TENANT_B,
    WRITER,
    MultiTenantApp,
)
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.revocation_tables import idempotency_keys
from tokensvc.storage.store import Store
from tokensvc.timestamps import rfc3339, unix_seconds
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE, viewer_id

pytestmark = pytest.mark.slow

VIEWER = "a-viewer-that-is-never-named"
MINIMAL = {"channelArn": CHANNEL, "viewerId": "ada"}


@pytest.fixture
def app(store: Store) -> MultiTenantApp:
    return MultiTenantApp(store)


def bad_fields(response: Any) -> list[str]:
    assert (response.status, response.json["code"]) == (422, "invalid_request")
    return [error["field"] for error in response.json["errors"]]


def record_outcomes(store: Store, state: RevocationState, code: str = "") -> None:
    """Record this outcome for every queued delivery, as a dispatcher would."""
    for priority in Priority:
        claimed = store.revocation_queue.claim(HERE, priority, 1000, 60)
        store.revocation_queue.record_outcomes(
            [DeliveryOutcome(e.id, e.version, state, code, "its words") for e in claimed]
        )


def test_a_revocation_returns_when_the_viewer_may_be_readmitted(app: MultiTenantApp, store: Store) -> None:
    accepted = app.revoke(reason="bought nothing")
    stored = store.revocations.get(accepted["id"], EVERYONE)
    assert accepted == {"id": "r1", "state": "queued", "readmitAfter": rfc3339(int(stored.readmit_after.timestamp()))}
    assert unix_seconds(accepted["readmitAfter"]) - app.clock.now() == pytest.approx(MAX_STALENESS_SECONDS, abs=3)
    assert (stored.caller, stored.reason) == ("all", "bought nothing")
    [entry] = store.revocation_queue.claim(HERE, Priority.INTERACTIVE, 9, 60)
    assert (entry.channel_arn, entry.viewer_id) == (CHANNEL, "ada")


def test_the_dispatcher_is_woken_only_for_accepted_revocations(app: MultiTenantApp) -> None:
    app.revoke()
    assert app.wakes == 1
    app.request("POST", "/v1/revocations/batch", {"revocations": [MINIMAL, MINIMAL]})
    assert app.wakes == 2
    app.request("POST", "/v1/revocations", {"channelArn": CHANNEL})
    app.request("POST", "/v1/revocations/batch", {"revocations": [{"channelArn": CHANNEL}]})
    assert app.wakes == 2


def test_a_caller_with_too_many_batches_is_refused(app: MultiTenantApp) -> None:
    """Batches of tokens count, too: both can be large, and wait for their bodies."""
    batch = {"revocations": [MINIMAL]}
    with app.turns.batch("all"), app.turns.batch("all"):
        assert app.request("POST", "/v1/revocations/batch", batch).json["code"] == "overloaded"
        assert app.request("POST", "/v1/revocations", MINIMAL).status == 202
    assert app.request("POST", "/v1/revocations/batch", batch).status == 202


def test_several_channels_form_one_revocation(app: MultiTenantApp) -> None:
    body = {"channelArns": [CHANNEL, OTHER_CHANNEL], "viewerId": "ada"}
    accepted = app.request("POST", "/v1/revocations", body).json
    shown = app.request("GET", f"/v1/revocations/{accepted['id']}").json
    assert [target["channelArn"] for target in shown["targets"]] == [CHANNEL, OTHER_CHANNEL]


def test_issued_before_revokes_old_sessions_and_denies_nothing(app: MultiTenantApp) -> None:
    before = int(app.clock.now()) - 3600
    accepted = app.revoke(issuedBefore=rfc3339(before))
    [target] = app.request("GET", f"/v1/revocations/{accepted['id']}").json["targets"]
    assert target["viewerSessionVersionsLessThanOrEqualTo"] == before - 1
    assert app.request("GET", "/v1/denials").json["denials"] == []


def test_deny_seconds_sets_how_long_the_viewer_is_denied(app: MultiTenantApp) -> None:
    app.revoke(denySeconds=86_400, reason="banned")
    [denial] = app.request("GET", "/v1/denials").json["denials"]
    assert denial["reason"] == "banned"
    assert unix_seconds(denial["until"]) - app.clock.now() == pytest.approx(86_400, abs=3)


def test_a_subject_is_revoked_under_every_viewer_id_it_ever_had(app: MultiTenantApp, store: Store) -> None:
    for version, key in enumerate((b"1" * 32, b"2" * 32), 1):
        store.deployment.add_subject_key(version, CIPHER.encrypt_secret(SUBJECT_KEY_PURPOSE, key))
    body = {"channelArn": CHANNEL, "subject": "ada@example.com"}
    accepted = app.request("POST", "/v1/revocations", body, key=TENANT_A).json
    shown = app.request("GET", f"/v1/revocations/{accepted['id']}", key=TENANT_A).json
    expected = {viewer_id(key, "a", "ada@example.com") for key in (b"1" * 32, b"2" * 32)}
    assert {target["viewerId"] for target in shown["targets"]} == expected
    assert app.listed_ids("subject=ada%40example.com", key=TENANT_A) == [accepted["id"]]
    assert app.listed_ids("subject=ada%40example.com") == [], (
        "the same subject in another namespace is a different viewer"
    )


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["channelArn", "viewerId"]),
        ({"channelArn": "x", "viewerId": "v" * 41, "unknown": 1}, ["channelArn", "viewerId", "unknown"]),
        (MINIMAL | {"channelArns": [CHANNEL], "subject": "ada"}, ["channelArns", "subject"]),
        ({"channelArns": [], "viewerId": "ada"}, ["channelArns"]),
        ({"channelArns": [CHANNEL] * 51, "viewerId": "ada"}, ["channelArns"]),
        ({"channelArns": [CHANNEL, "x"], "viewerId": "ada"}, ["channelArns[1]"]),
        (MINIMAL | {"channelArn": "*"}, ["channelArn"]),
        (MINIMAL | {"viewerId": "a\0"}, ["viewerId"]),
        (MINIMAL | {"viewerId": 7, "reason": "a\0"}, ["viewerId", "reason"]),
        (MINIMAL | {"issuedBefore": "yesterday", "denySeconds": -1}, ["issuedBefore", "denySeconds"]),
        (MINIMAL | {"issuedBefore": 1_700_000_000}, ["issuedBefore"]),
        (MINIMAL | {"issuedBefore": "2999-01-01T00:00:00Z"}, ["issuedBefore"]),
        (MINIMAL | {"denySeconds": 2**31 - 1}, ["denySeconds"]),
        (MINIMAL | {"denySeconds": "60", "reason": "x" * 201}, ["denySeconds", "reason"]),
    ],
)
def test_every_bad_field_is_reported_together_and_nothing_is_written(
    app: MultiTenantApp, body: dict[str, Any], fields: list[str]
) -> None:
    response = app.request("POST", "/v1/revocations", body)
    assert sorted(bad_fields(response)) == sorted(fields)
    assert app.listed_ids() == []
    assert app.store.versions.read().denials.number == 0


def test_a_repeated_idempotency_key_creates_one_revocation_and_repeats_the_response(app: MultiTenantApp) -> None:
    body = MINIMAL | {"reason": "once"}
    first = app.request("POST", "/v1/revocations", body, idempotency_key="k-1")
    again = app.request("POST", "/v1/revocations", dict(reversed(body.items())), idempotency_key="k-1")
    assert (first.status, again.status, again.json) == (202, 202, first.json)
    assert app.listed_ids() == [first.json["id"]]
    others = app.request("POST", "/v1/revocations", body, key=WRITER, idempotency_key="k-1")
    assert others.json["id"] != first.json["id"], "idempotency keys are per caller"


def test_an_idempotency_key_of_a_different_request_is_rejected(app: MultiTenantApp) -> None:
    app.request("POST", "/v1/revocations", MINIMAL, idempotency_key="k-1")
    other = app.request("POST", "/v1/revocations", MINIMAL | {"viewerId": "eve"}, idempotency_key="k-1")
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    route = app.request("POST", "/v1/revocations/batch", {"revocations": [MINIMAL]}, idempotency_key="k-1")
    assert (route.status, route.json["code"]) == (422, "idempotency_key_reused")
    assert len(app.listed_ids()) == 1


def test_an_idempotency_key_can_be_reused_after_24_hours(app: MultiTenantApp, store: Store) -> None:
    first = app.request("POST", "/v1/revocations", MINIMAL, idempotency_key="k-1").json
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(idempotency_keys).values(used_at=idempotency_keys.c.used_at - 86_401))
    second = app.request("POST", "/v1/revocations", MINIMAL | {"viewerId": "eve"}, idempotency_key="k-1")
    assert (second.status, second.json["id"] != first["id"]) == (202, True)


@pytest.mark.parametrize("name", ["x" * 256, "a b", "caf\xe9"], ids=["long", "blank", "not ASCII"])
def test_a_malformed_idempotency_key_is_rejected(app: MultiTenantApp, name: str) -> None:
    assert bad_fields(app.request("POST", "/v1/revocations", MINIMAL, idempotency_key=name)) == ["Idempotency-Key"]


def test_a_bad_revocation_in_a_batch_fails_alone(app: MultiTenantApp, store: Store) -> None:
    items = [MINIMAL, {}, MINIMAL | {"viewerId": "eve"}, MINIMAL | {"channelArn": OTHER_CHANNEL}, "nothing"]
    response = app.request("POST", "/v1/revocations/batch", {"revocations": items}, key=TENANT_A)
    assert response.status == 202
    results = response.json["results"]
    assert [result.get("id") for result in results] == ["r1-0", None, "r1-2", None, None]
    assert [result.get("problem", {}).get("code") for result in results] == [
        None,
        "invalid_request",
        None,
        "channel_not_allowed",
        "invalid_request",
    ]
    assert [error["field"] for error in results[1]["problem"]["errors"]] == ["channelArn", "viewerId"]
    claimed = store.revocation_queue.claim(HERE, Priority.BULK, 9, 60)
    assert [entry.viewer_id for entry in claimed] == ["ada", "eve"], "in order, with the priority of batches"


def test_a_batch_of_bad_revocations_is_accepted_with_their_problems(app: MultiTenantApp) -> None:
    response = app.request("POST", "/v1/revocations/batch", {"revocations": [{}]})
    assert (response.status, response.json["results"][0]["problem"]["code"]) == (202, "invalid_request")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["revocations"]),
        ({"revocations": []}, ["revocations"]),
        ({"revocations": {}}, ["revocations"]),
        ({"revocations": [MINIMAL] * 1001}, ["revocations"]),
        ({"revocations": [MINIMAL], "more": 1}, ["more"]),
    ],
)
def test_a_batch_has_1_to_1000_revocations(app: MultiTenantApp, body: Any, fields: list[str]) -> None:
    assert bad_fields(app.request("POST", "/v1/revocations/batch", body)) == fields


def test_1000_revocations_fit_one_batch(app: MultiTenantApp) -> None:
    items = [{"channelArn": CHANNEL, "viewerId": f"v{number}"} for number in range(1000)]
    response = app.request("POST", "/v1/revocations/batch", {"revocations": items})
    assert [result["id"] for result in response.json["results"]] == [f"r1-{number}" for number in range(1000)]
    more = [{"channelArns": [CHANNEL, OTHER_CHANNEL] * 25, "viewerId": f"v{number}"} for number in range(101)]
    response = app.request("POST", "/v1/revocations/batch", {"revocations": more})
    assert (response.status, "5000" in response.json["detail"]) == (422, True)


def test_a_repeated_batch_repeats_each_first_result_whatever_the_clock(app: MultiTenantApp) -> None:
    soon = MINIMAL | {"issuedBefore": rfc3339(int(app.clock.now()) + 60)}
    body = {"revocations": [soon, MINIMAL, {}]}
    first = app.request("POST", "/v1/revocations/batch", body, idempotency_key="k").json["results"]
    app.clock.advance(120)
    again = app.request("POST", "/v1/revocations/batch", body, idempotency_key="k").json["results"]
    assert again[1:] == first[1:]
    assert first[0]["problem"]["errors"][0]["field"] == "issuedBefore"
    assert again[0]["problem"]["errors"][0]["field"] == "Idempotency-Key", "a rejected item is rejected again"
    assert app.listed_ids() == [first[1]["id"]]


def test_a_revocation_shows_the_state_of_each_target(app: MultiTenantApp, store: Store) -> None:
    accepted = app.revoke()
    record_outcomes(store, RevocationState.QUEUED, "ThrottlingException")
    shown = app.request("GET", f"/v1/revocations/{accepted['id']}").json
    assert (shown["state"], shown["caller"]) == ("queued", "all")
    [target] = shown["targets"]
    assert (target["viewerId"], target["attempts"], target["code"]) == ("ada", 1, "ThrottlingException")
    assert target["finishedAt"] is None
    record_outcomes(store, RevocationState.SENT)
    [target] = app.request("GET", f"/v1/revocations/{accepted['id']}").json["targets"]
    assert (target["state"], target["attempts"], target["code"]) == ("sent", 2, None)
    assert target["finishedAt"] is not None


def test_lists_are_paged_newest_first_and_filtered(app: MultiTenantApp, store: Store) -> None:
    sent = app.revoke("v1")["id"]
    record_outcomes(store, RevocationState.SENT)
    ids = [sent, app.revoke("v2")["id"], app.revoke("v1", channel_arn=OTHER_CHANNEL)["id"]]
    page = app.request("GET", "/v1/revocations?maxResults=2").json
    assert [each["id"] for each in page["revocations"]] == [ids[2], ids[1]]
    rest = app.request("GET", f"/v1/revocations?maxResults=2&nextToken={page['nextToken']}").json
    assert ([each["id"] for each in rest["revocations"]], rest["nextToken"]) == ([ids[0]], None)
    assert app.listed_ids("state=sent") == [sent]
    assert app.listed_ids(f"channelArn={OTHER_CHANNEL}") == [ids[2]]
    assert app.listed_ids("viewerId=v1") == [ids[2], sent]
    assert app.listed_ids("viewerId=v1&state=queued") == [ids[2]]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("maxResults=0", ["maxResults"]),
        ("maxResults=ten&state=lost&channelArn=x", ["channelArn", "maxResults", "state"]),
        ("viewerId=a&subject=b", ["subject"]),
        ("viewerId=%00", ["viewerId"]),
        ("unknown=1", ["unknown"]),
        ("state=sent&state=failed", ["state"]),
        ("nextToken=x", ["nextToken"]),
        (f"nextToken={'9' * 19}", ["nextToken"]),
    ],
)
def test_a_bad_query_parameter_is_rejected_by_name(app: MultiTenantApp, query: str, fields: list[str]) -> None:
    assert sorted(bad_fields(app.request("GET", f"/v1/revocations?{query}"))) == fields
    many = app.request("GET", "/v1/revocations?" + "&".join(f"a{number}=" for number in range(101)))
    assert many.status == 422


def test_queued_deliveries_can_be_cancelled(app: MultiTenantApp, store: Store) -> None:
    accepted = app.revoke()
    shown = app.request("POST", f"/v1/revocations/{accepted['id']}/cancel")
    assert (shown.status, shown.json["state"]) == (200, "cancelled")
    assert store.revocation_queue.backlogs() == {}
    assert app.request("POST", f"/v1/revocations/{accepted['id']}/cancel").json == shown.json


def test_failed_deliveries_can_be_retried(app: MultiTenantApp, store: Store) -> None:
    accepted = app.revoke()
    record_outcomes(store, RevocationState.FAILED, "AccessDeniedException")
    shown = app.request("GET", f"/v1/revocations/{accepted['id']}").json
    assert (shown["state"], shown["targets"][0]["code"]) == ("failed", "AccessDeniedException")
    again = app.request("POST", f"/v1/revocations/{accepted['id']}/retry")
    assert (again.status, again.json["state"]) == (200, "queued")


@pytest.mark.parametrize("path", ["r9", "r9/x", "%00", "a b", "r" * 65])
def test_an_unknown_id_is_404(app: MultiTenantApp, path: str) -> None:
    assert app.request("GET", f"/v1/revocations/{path}").status == 404
    if "/" not in path:
        for verb in ("retry", "cancel"):
            response = app.request("POST", f"/v1/revocations/{path}/{verb}")
            assert (response.status, response.json["code"]) == (404, "revocation_not_found")


def test_a_tenant_cannot_revoke_list_or_cancel_for_another_tenant(app: MultiTenantApp) -> None:
    theirs = app.revoke(channel_arn=OTHER_CHANNEL, key=TENANT_B)["id"]
    both = app.request("POST", "/v1/revocations", {"channelArns": [CHANNEL, OTHER_CHANNEL], "viewerId": "ada"}).json[
        "id"
    ]
    for body in (MINIMAL | {"channelArn": OTHER_CHANNEL}, {"channelArns": [CHANNEL, OTHER_CHANNEL], "viewerId": "ada"}):
        response = app.request("POST", "/v1/revocations", body, key=TENANT_A)
        assert (response.status, response.json["code"]) == (403, "channel_not_allowed")
    mine = app.revoke(key=TENANT_A)["id"]
    assert (app.listed_ids(key=TENANT_A), app.listed_ids(key=TENANT_B)) == ([mine], [theirs])
    assert app.listed_ids("viewerId=ada", key=TENANT_A) == [mine]
    assert app.request("GET", f"/v1/revocations?channelArn={OTHER_CHANNEL}", key=TENANT_A).status == 403
    for not_mine in (theirs, both):
        assert app.request("GET", f"/v1/revocations/{not_mine}", key=TENANT_A).status == 404
        for verb in ("retry", "cancel"):
            assert app.request("POST", f"/v1/revocations/{not_mine}/{verb}", key=TENANT_A).status == 404
    assert app.request("GET", f"/v1/revocations/{both}").json["state"] == "queued"


def test_each_route_requires_its_scope(app: MultiTenantApp) -> None:
    revocation_id = app.revoke()["id"]
    writes = [
        ("POST", "/v1/revocations", MINIMAL),
        ("POST", "/v1/revocations/batch", {"revocations": [MINIMAL]}),
        ("POST", f"/v1/revocations/{revocation_id}/cancel", None),
        ("POST", f"/v1/revocations/{revocation_id}/retry", None),
    ]
    for key, requests in (
        (READER, writes),
        (WRITER, [("GET", "/v1/revocations", None), ("GET", f"/v1/revocations/{revocation_id}", None)]),
    ):
        for method, path, body in requests:
            response = app.request(method, path, body, key=key)
            assert (response.status, response.json["code"]) == (403, "insufficient_scope"), path
    assert app.request("POST", "/v1/revocations", MINIMAL, key="tsk_0_0").status == 401
    assert app.listed_ids() == [revocation_id]


def test_the_viewer_appears_in_no_log_and_no_problem(app: MultiTenantApp) -> None:
    with capture_logs() as lines:
        app.revoke(VIEWER, reason="fine")
        app.listed_ids(f"viewerId={VIEWER}")
        for body in (
            MINIMAL | {"viewerId": VIEWER * 3},
            {"viewerId": VIEWER},
            {VIEWER: 1},
            {"subject": VIEWER, "x": 1},
        ):
            assert VIEWER not in json.dumps(app.request("POST", "/v1/revocations", body).json) or VIEWER in body
        assert VIEWER not in app.request("GET", f"/v1/revocations/{VIEWER}").body.decode()
        assert VIEWER not in app.request("GET", f"/v1/revocations?viewerId={VIEWER * 3}").body.decode()
    assert VIEWER not in str(lines) + app.log()
    assert '"path":"/v1/revocations/{id}"' in app.log()


def test_a_caller_disabled_while_its_body_arrives_is_rejected(app: MultiTenantApp) -> None:
    class SecretsReadOnce(dict[str, Any]):
        """Secrets that are gone at the second lookup."""

        lookups = 0

        def get(self, name: str, default: Any = None) -> Any:
            self.lookups += 1
            return super().get(name, default) if self.lookups == 1 else default

    app.snapshot = app.snapshot._replace(secrets=SecretsReadOnce(app.snapshot.secrets))
    assert app.request("POST", "/v1/revocations", MINIMAL).status == 401
    assert app.store.revocations.list(EVERYONE, limit=9) == []


def test_a_path_supports_only_its_methods(app: MultiTenantApp) -> None:
    response = app.request("DELETE", "/v1/revocations")
    assert (response.status, response.headers["allow"]) == (405, "POST, GET")
    assert app.request("HEAD", "/v1/revocations").status == 200
    assert app.request("GET", "/v1/revocations/batch", key=ALL_CHANNELS).status == 405


def test_a_caller_that_owns_few_of_many_gets_short_pages(app: MultiTenantApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page scans a bounded number of revocations, however many other callers have."""
    monkeypatch.setattr("tokensvc.revocations.service.MAX_SCANNED", 4)
    mine = [app.request("POST", "/v1/revocations", MINIMAL, key=TENANT_A).json["id"]]
    for number in range(9):
        app.revoke(channelArn=OTHER_CHANNEL, viewerId=f"v{number}")
    mine.append(app.request("POST", "/v1/revocations", MINIMAL, key=TENANT_A).json["id"])
    pages: list[list[str]] = []
    query = "maxResults=9"
    while True:
        page = app.request("GET", f"/v1/revocations?{query}", key=TENANT_A).json
        pages.append([shown["id"] for shown in page["revocations"]])
        if page["nextToken"] is None:
            break
        query = f"maxResults=9&nextToken={page['nextToken']}"
    assert pages == [[mine[1]], [], [mine[0]]]


INVENTED = [
    "arn:aws:ivs:moon-north-1:123456789012:channel/abcdefghijkl",
    "arn:aws:ivs:us-east-1:999999999999:channel/abcdefghijkl",
]


@pytest.mark.parametrize("invented", INVENTED, ids=["a region", "an account"])
def test_a_channel_without_a_signing_key_is_rejected_and_leaves_no_row(app: MultiTenantApp, invented: str) -> None:
    app.store.deployment.bind_account("123456789012")
    account_and_region = ", ".join(f"{kind} {invented.split(':')[n]}" for kind, n in (("account", 4), ("region", 3)))
    for path, body in (
        ("/v1/revocations", {"channelArns": [CHANNEL, invented], "viewerId": "ada"}),
        ("/v1/denials", {"channelArns": [CHANNEL, invented], "viewerId": "ada", "denySeconds": 60}),
    ):
        response = app.request("POST", path, body)
        assert (response.status, response.json["code"]) == (422, "invalid_request")
        assert response.json["errors"] == [
            {"field": "channelArns", "message": f"no signing key is configured for {account_and_region}"}
        ]
    batch = [{"channelArn": invented, "viewerId": "ada"}, {"channelArn": CHANNEL, "viewerId": "eve"}]
    results = app.request("POST", "/v1/revocations/batch", {"revocations": batch}).json["results"]
    assert ("problem" in results[0], "problem" in results[1]) == (True, False)
    assert list(app.store.revocation_queue.backlogs()) == [HERE]
    assert {denial.channel for denial in app.store.denials.in_force(("*",), limit=9)} == {CHANNEL}


def test_a_region_is_served_if_configured_or_if_it_has_or_had_a_key(app: MultiTenantApp) -> None:
    app.configured = []
    body = {"channelArn": CHANNEL, "viewerId": "ada"}
    assert app.request("POST", "/v1/revocations", body).status == 422
    add_key(app.store, "k1", HERE)
    app.revoke()
    app.configured = ["eu-west-1"]
    app.store.deployment.bind_account("123456789012")
    app.revoke(channel_arn=CHANNEL.replace("us-east-1", "eu-west-1"))


def test_a_caller_outside_its_patterns_does_not_learn_which_regions_are_served(app: MultiTenantApp) -> None:
    response = app.request("POST", "/v1/revocations", {"channelArn": INVENTED[0], "viewerId": "ada"}, key=TENANT_A)
    assert (response.status, response.json["code"]) == (403, "channel_not_allowed")


def test_a_batch_item_that_is_not_an_object_is_named(app: MultiTenantApp) -> None:
    results = app.request("POST", "/v1/revocations/batch", {"revocations": [MINIMAL, 5, None, []]}).json["results"]
    assert results[0]["state"] == "queued"
    assert [result["problem"]["errors"] for result in results[1:]] == [
        [{"field": f"revocations[{position}]", "message": "must be an object"}] for position in (1, 2, 3)
    ]


@pytest.mark.parametrize("path", ["/v1/revocations", "/v1/revocations/batch", "/v1/denials"])
def test_a_repeated_field_is_rejected_on_every_route(app: MultiTenantApp, path: str) -> None:
    fields = b'"channelArn":"%b","viewerId":"ada","viewerId":"eve"' % CHANNEL.encode()
    body, name = (b'{"revocations":[{%b}]}', "revocations[0].viewerId") if "batch" in path else (b"{%b}", "viewerId")
    assert bad_fields(app.request("POST", path, body % fields)) == [name]
    assert app.listed_ids() == []
