"""`/v1/revocations…`: durable before 202, one answer for one request, and no tenant in another's business."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.storage.samples import CHANNEL, EVERYONE, HERE, REACH, add_key
from tests.support.keks import CIPHER
from tests.support.multi_tenant_app import EVERYTHING, OTHER, READER, TENANT_A, TENANT_B, WRITER, MultiTenantApp
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.revocation_tables import idempotency_keys
from tokensvc.storage.store import Store
from tokensvc.timestamps import rfc3339, unix_seconds
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE, viewer_id

VIEWER = "a-viewer-whom-nobody-names"
LEAST = {"channelArn": CHANNEL, "viewerId": "ada"}


@pytest.fixture
def counter(store: Store) -> MultiTenantApp:
    return MultiTenantApp(store)


def bad_fields(answer: Any) -> list[str]:
    assert (answer.status, answer.json["code"]) == (422, "invalid_request")
    return [error["field"] for error in answer.json["errors"]]


def settle(store: Store, state: RevocationState, code: str = "") -> None:
    """What a dispatcher would do of all that waits."""
    for priority in Priority:
        claimed = store.revocation_queue.claim(HERE, priority, 1000, 60)
        store.revocation_queue.record_outcomes(
            [DeliveryOutcome(e.id, e.version, state, code, "its words") for e in claimed]
        )


def test_a_revocation_returns_when_the_viewer_may_be_readmitted(counter: MultiTenantApp, store: Store) -> None:
    said = counter.revoke(reason="bought nothing")
    kept = store.revocations.get(said["id"], EVERYONE)
    assert said == {"id": "r1", "state": "queued", "readmitAfter": rfc3339(int(kept.readmit_after.timestamp()))}
    assert unix_seconds(said["readmitAfter"]) - counter.clock.now() == pytest.approx(REACH, abs=3)
    assert (kept.caller, kept.reason) == ("all", "bought nothing")
    [entry] = store.revocation_queue.claim(HERE, Priority.INTERACTIVE, 9, 60)
    assert (entry.channel_arn, entry.viewer_id) == (CHANNEL, "ada")


def test_the_dispatcher_is_woken_only_for_accepted_revocations(counter: MultiTenantApp) -> None:
    counter.revoke()
    assert counter.pokes == 1
    counter.request("POST", "/v1/revocations/batch", {"revocations": [LEAST, LEAST]})
    assert counter.pokes == 2
    counter.request("POST", "/v1/revocations", {"channelArn": CHANNEL})
    counter.request("POST", "/v1/revocations/batch", {"revocations": [{"channelArn": CHANNEL}]})
    assert counter.pokes == 2


def test_several_channels_form_one_revocation(counter: MultiTenantApp) -> None:
    body = {"channelArns": [CHANNEL, OTHER], "viewerId": "ada"}
    said = counter.request("POST", "/v1/revocations", body).json
    shown = counter.request("GET", f"/v1/revocations/{said['id']}").json
    assert [target["channelArn"] for target in shown["targets"]] == [CHANNEL, OTHER]


def test_issued_before_revokes_old_sessions_and_denies_nothing(counter: MultiTenantApp) -> None:
    before = int(counter.clock.now()) - 3600
    said = counter.revoke(issuedBefore=rfc3339(before))
    [target] = counter.request("GET", f"/v1/revocations/{said['id']}").json["targets"]
    assert target["viewerSessionVersionsLessThanOrEqualTo"] == before - 1
    assert counter.request("GET", "/v1/denials").json["denials"] == []


def test_deny_seconds_sets_how_long_the_viewer_is_denied(counter: MultiTenantApp) -> None:
    counter.revoke(denySeconds=86_400, reason="banned")
    [denial] = counter.request("GET", "/v1/denials").json["denials"]
    assert denial["reason"] == "banned"
    assert unix_seconds(denial["until"]) - counter.clock.now() == pytest.approx(86_400, abs=3)


def test_a_subject_is_revoked_under_every_viewer_id_it_ever_had(counter: MultiTenantApp, store: Store) -> None:
    for version, key in enumerate((b"1" * 32, b"2" * 32), 1):
        store.deployment.add_subject_key(version, CIPHER.encrypt_secret(SUBJECT_KEY_PURPOSE, key))
    body = {"channelArn": CHANNEL, "subject": "ada@example.com"}
    said = counter.request("POST", "/v1/revocations", body, key=TENANT_A).json
    shown = counter.request("GET", f"/v1/revocations/{said['id']}", key=TENANT_A).json
    expected = {viewer_id(key, "a", "ada@example.com") for key in (b"1" * 32, b"2" * 32)}
    assert {target["viewerId"] for target in shown["targets"]} == expected
    assert counter.listed("subject=ada%40example.com", key=TENANT_A) == [said["id"]]
    assert counter.listed("subject=ada%40example.com") == [], "another namespace's subject is another viewer"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["channelArn", "viewerId"]),
        ({"channelArn": "x", "viewerId": "v" * 41, "wish": 1}, ["channelArn", "viewerId", "wish"]),
        (LEAST | {"channelArns": [CHANNEL], "subject": "ada"}, ["channelArns", "subject"]),
        ({"channelArns": [], "viewerId": "ada"}, ["channelArns"]),
        ({"channelArns": [CHANNEL] * 51, "viewerId": "ada"}, ["channelArns"]),
        ({"channelArns": [CHANNEL, "x"], "viewerId": "ada"}, ["channelArns[1]"]),
        (LEAST | {"channelArn": "*"}, ["channelArn"]),
        (LEAST | {"viewerId": "a\0"}, ["viewerId"]),
        (LEAST | {"viewerId": 7, "reason": "a\0"}, ["viewerId", "reason"]),
        (LEAST | {"issuedBefore": "yesterday", "denySeconds": -1}, ["issuedBefore", "denySeconds"]),
        (LEAST | {"issuedBefore": 1_700_000_000}, ["issuedBefore"]),
        (LEAST | {"issuedBefore": "2999-01-01T00:00:00Z"}, ["issuedBefore"]),
        (LEAST | {"denySeconds": 2**31 - 1}, ["denySeconds"]),
        (LEAST | {"denySeconds": "60", "reason": "x" * 201}, ["denySeconds", "reason"]),
    ],
)
def test_every_bad_field_is_reported_together_and_nothing_is_written(
    counter: MultiTenantApp, body: dict[str, Any], fields: list[str]
) -> None:
    said = counter.request("POST", "/v1/revocations", body)
    assert sorted(bad_fields(said)) == sorted(fields)
    assert counter.listed() == []
    assert counter.store.versions.read().denials.number == 0


def test_a_repeated_idempotency_key_creates_one_revocation_and_repeats_the_response(counter: MultiTenantApp) -> None:
    body = LEAST | {"reason": "once"}
    first = counter.request("POST", "/v1/revocations", body, idempotency_key="k-1")
    again = counter.request("POST", "/v1/revocations", dict(reversed(body.items())), idempotency_key="k-1")
    assert (first.status, again.status, again.json) == (202, 202, first.json)
    assert counter.listed() == [first.json["id"]]
    others = counter.request("POST", "/v1/revocations", body, key=WRITER, idempotency_key="k-1")
    assert others.json["id"] != first.json["id"], "another caller's key is another key"


def test_an_idempotency_key_of_a_different_request_is_rejected(counter: MultiTenantApp) -> None:
    counter.request("POST", "/v1/revocations", LEAST, idempotency_key="k-1")
    other = counter.request("POST", "/v1/revocations", LEAST | {"viewerId": "eve"}, idempotency_key="k-1")
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    route = counter.request("POST", "/v1/revocations/batch", {"revocations": [LEAST]}, idempotency_key="k-1")
    assert (route.status, route.json["code"]) == (422, "idempotency_key_reused")
    assert len(counter.listed()) == 1


def test_an_idempotency_key_can_be_reused_after_24_hours(counter: MultiTenantApp, store: Store) -> None:
    first = counter.request("POST", "/v1/revocations", LEAST, idempotency_key="k-1").json
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(idempotency_keys).values(used_at=idempotency_keys.c.used_at - 86_401))
    second = counter.request("POST", "/v1/revocations", LEAST | {"viewerId": "eve"}, idempotency_key="k-1")
    assert (second.status, second.json["id"] != first["id"]) == (202, True)


@pytest.mark.parametrize("name", ["x" * 256, "a b", "caf\xe9"], ids=["long", "blank", "not ASCII"])
def test_a_malformed_idempotency_key_is_rejected(counter: MultiTenantApp, name: str) -> None:
    assert bad_fields(counter.request("POST", "/v1/revocations", LEAST, idempotency_key=name)) == ["Idempotency-Key"]


def test_a_bad_revocation_in_a_batch_fails_alone(counter: MultiTenantApp, store: Store) -> None:
    asks = [LEAST, {}, LEAST | {"viewerId": "eve"}, LEAST | {"channelArn": OTHER}, "nothing"]
    said = counter.request("POST", "/v1/revocations/batch", {"revocations": asks}, key=TENANT_A)
    assert said.status == 202
    results = said.json["results"]
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
    assert [entry.viewer_id for entry in claimed] == ["ada", "eve"], "in order, and behind who is asked for alone"


def test_a_batch_of_bad_revocations_is_accepted_with_their_problems(counter: MultiTenantApp) -> None:
    said = counter.request("POST", "/v1/revocations/batch", {"revocations": [{}]})
    assert (said.status, said.json["results"][0]["problem"]["code"]) == (202, "invalid_request")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["revocations"]),
        ({"revocations": []}, ["revocations"]),
        ({"revocations": {}}, ["revocations"]),
        ({"revocations": [LEAST] * 1001}, ["revocations"]),
        ({"revocations": [LEAST], "more": 1}, ["more"]),
    ],
)
def test_a_batch_has_1_to_1000_revocations(counter: MultiTenantApp, body: Any, fields: list[str]) -> None:
    assert bad_fields(counter.request("POST", "/v1/revocations/batch", body)) == fields


def test_1000_revocations_fit_one_batch(counter: MultiTenantApp) -> None:
    asks = [{"channelArn": CHANNEL, "viewerId": f"v{number}"} for number in range(1000)]
    said = counter.request("POST", "/v1/revocations/batch", {"revocations": asks})
    assert [result["id"] for result in said.json["results"]] == [f"r1-{number}" for number in range(1000)]
    more = [{"channelArns": [CHANNEL, OTHER] * 25, "viewerId": f"v{number}"} for number in range(101)]
    said = counter.request("POST", "/v1/revocations/batch", {"revocations": more})
    assert (said.status, "5000" in said.json["detail"]) == (422, True)


def test_a_repeated_batch_repeats_each_first_result_whatever_the_clock(counter: MultiTenantApp) -> None:
    soon = LEAST | {"issuedBefore": rfc3339(int(counter.clock.now()) + 60)}
    body = {"revocations": [soon, LEAST, {}]}
    first = counter.request("POST", "/v1/revocations/batch", body, idempotency_key="k").json["results"]
    counter.clock.advance(120)
    again = counter.request("POST", "/v1/revocations/batch", body, idempotency_key="k").json["results"]
    assert again[1:] == first[1:]
    assert first[0]["problem"]["errors"][0]["field"] == "issuedBefore"
    assert again[0]["problem"]["errors"][0]["field"] == "Idempotency-Key", "what was refused is refused again"
    assert counter.listed() == [first[1]["id"]]


def test_a_revocation_shows_the_state_of_each_target(counter: MultiTenantApp, store: Store) -> None:
    said = counter.revoke()
    settle(store, RevocationState.QUEUED, "ThrottlingException")
    shown = counter.request("GET", f"/v1/revocations/{said['id']}").json
    assert (shown["state"], shown["caller"]) == ("queued", "all")
    [target] = shown["targets"]
    assert (target["viewerId"], target["attempts"], target["code"]) == ("ada", 1, "ThrottlingException")
    assert target["finishedAt"] is None
    settle(store, RevocationState.SENT)
    [target] = counter.request("GET", f"/v1/revocations/{said['id']}").json["targets"]
    assert (target["state"], target["attempts"], target["code"]) == ("sent", 2, None)
    assert target["finishedAt"] is not None


def test_lists_are_paged_newest_first_and_filtered(counter: MultiTenantApp, store: Store) -> None:
    sent = counter.revoke("v1")["id"]
    settle(store, RevocationState.SENT)
    ids = [sent, counter.revoke("v2")["id"], counter.revoke("v1", where=OTHER)["id"]]
    page = counter.request("GET", "/v1/revocations?maxResults=2").json
    assert [one["id"] for one in page["revocations"]] == [ids[2], ids[1]]
    rest = counter.request("GET", f"/v1/revocations?maxResults=2&nextToken={page['nextToken']}").json
    assert ([one["id"] for one in rest["revocations"]], rest["nextToken"]) == ([ids[0]], None)
    assert counter.listed("state=sent") == [sent]
    assert counter.listed(f"channelArn={OTHER}") == [ids[2]]
    assert counter.listed("viewerId=v1") == [ids[2], sent]
    assert counter.listed("viewerId=v1&state=queued") == [ids[2]]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("maxResults=0", ["maxResults"]),
        ("maxResults=ten&state=lost&channelArn=x", ["channelArn", "maxResults", "state"]),
        ("viewerId=a&subject=b", ["subject"]),
        ("viewerId=%00", ["viewerId"]),
        ("wish=1", ["wish"]),
        ("state=sent&state=failed", ["state"]),
        ("nextToken=x", ["nextToken"]),
        (f"nextToken={'9' * 19}", ["nextToken"]),
    ],
)
def test_a_bad_query_parameter_is_rejected_by_name(counter: MultiTenantApp, query: str, fields: list[str]) -> None:
    assert sorted(bad_fields(counter.request("GET", f"/v1/revocations?{query}"))) == fields
    many = counter.request("GET", "/v1/revocations?" + "&".join(f"a{number}=" for number in range(101)))
    assert many.status == 422


def test_queued_deliveries_can_be_cancelled(counter: MultiTenantApp, store: Store) -> None:
    said = counter.revoke()
    shown = counter.request("POST", f"/v1/revocations/{said['id']}/cancel")
    assert (shown.status, shown.json["state"]) == (200, "cancelled")
    assert store.revocation_queue.backlogs() == {}
    assert counter.request("POST", f"/v1/revocations/{said['id']}/cancel").json == shown.json


def test_failed_deliveries_can_be_retried(counter: MultiTenantApp, store: Store) -> None:
    said = counter.revoke()
    settle(store, RevocationState.FAILED, "AccessDeniedException")
    shown = counter.request("GET", f"/v1/revocations/{said['id']}").json
    assert (shown["state"], shown["targets"][0]["code"]) == ("failed", "AccessDeniedException")
    again = counter.request("POST", f"/v1/revocations/{said['id']}/retry")
    assert (again.status, again.json["state"]) == (200, "queued")


@pytest.mark.parametrize("path", ["r9", "r9/x", "%00", "a b", "r" * 65])
def test_an_unknown_id_is_404(counter: MultiTenantApp, path: str) -> None:
    assert counter.request("GET", f"/v1/revocations/{path}").status == 404
    if "/" not in path:
        for verb in ("retry", "cancel"):
            answer = counter.request("POST", f"/v1/revocations/{path}/{verb}")
            assert (answer.status, answer.json["code"]) == (404, "revocation_not_found")


def test_a_tenant_cannot_revoke_list_or_cancel_for_another_tenant(counter: MultiTenantApp) -> None:
    theirs = counter.revoke(where=OTHER, key=TENANT_B)["id"]
    both = counter.request("POST", "/v1/revocations", {"channelArns": [CHANNEL, OTHER], "viewerId": "ada"}).json["id"]
    for body in (LEAST | {"channelArn": OTHER}, {"channelArns": [CHANNEL, OTHER], "viewerId": "ada"}):
        answer = counter.request("POST", "/v1/revocations", body, key=TENANT_A)
        assert (answer.status, answer.json["code"]) == (403, "channel_not_allowed")
    mine = counter.revoke(key=TENANT_A)["id"]
    assert (counter.listed(key=TENANT_A), counter.listed(key=TENANT_B)) == ([mine], [theirs])
    assert counter.listed("viewerId=ada", key=TENANT_A) == [mine]
    assert counter.request("GET", f"/v1/revocations?channelArn={OTHER}", key=TENANT_A).status == 403
    for not_mine in (theirs, both):
        assert counter.request("GET", f"/v1/revocations/{not_mine}", key=TENANT_A).status == 404
        for verb in ("retry", "cancel"):
            assert counter.request("POST", f"/v1/revocations/{not_mine}/{verb}", key=TENANT_A).status == 404
    assert counter.request("GET", f"/v1/revocations/{both}").json["state"] == "queued"


def test_each_route_requires_its_scope(counter: MultiTenantApp) -> None:
    said = counter.revoke()["id"]
    writes = [
        ("POST", "/v1/revocations", LEAST),
        ("POST", "/v1/revocations/batch", {"revocations": [LEAST]}),
        ("POST", f"/v1/revocations/{said}/cancel", None),
        ("POST", f"/v1/revocations/{said}/retry", None),
    ]
    for key, requests in (
        (READER, writes),
        (WRITER, [("GET", "/v1/revocations", None), ("GET", f"/v1/revocations/{said}", None)]),
    ):
        for method, path, body in requests:
            answer = counter.request(method, path, body, key=key)
            assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), path
    assert counter.request("POST", "/v1/revocations", LEAST, key="tsk_0_0").status == 401
    assert counter.listed() == [said]


def test_the_viewer_appears_in_no_log_and_no_problem(counter: MultiTenantApp) -> None:
    with capture_logs() as lines:
        counter.revoke(VIEWER, reason="fine")
        counter.listed(f"viewerId={VIEWER}")
        for body in (LEAST | {"viewerId": VIEWER * 3}, {"viewerId": VIEWER}, {VIEWER: 1}, {"subject": VIEWER, "x": 1}):
            assert VIEWER not in json.dumps(counter.request("POST", "/v1/revocations", body).json) or VIEWER in body
        assert VIEWER not in counter.request("GET", f"/v1/revocations/{VIEWER}").body.decode()
        assert VIEWER not in counter.request("GET", f"/v1/revocations?viewerId={VIEWER * 3}").body.decode()
    assert VIEWER not in str(lines) + counter.log()
    assert '"path":"/v1/revocations/{id}"' in counter.log()


def test_a_caller_disabled_while_its_body_arrives_is_rejected(counter: MultiTenantApp) -> None:
    class Dripping(dict[str, Any]):
        """A snapshot's secrets that are gone when they are looked at for the second time."""

        looks = 0

        def get(self, name: str, default: Any = None) -> Any:
            self.looks += 1
            return super().get(name, default) if self.looks == 1 else default

    counter.snapshot = counter.snapshot._replace(secrets=Dripping(counter.snapshot.secrets))
    assert counter.request("POST", "/v1/revocations", LEAST).status == 401
    assert counter.store.revocations.list(EVERYONE, limit=9) == []


def test_a_path_supports_only_its_methods(counter: MultiTenantApp) -> None:
    said = counter.request("DELETE", "/v1/revocations")
    assert (said.status, said.headers["allow"]) == (405, "POST, GET")
    assert counter.request("HEAD", "/v1/revocations").status == 200
    assert counter.request("GET", "/v1/revocations/batch", key=EVERYTHING).status == 405


def test_a_caller_that_owns_few_of_many_gets_short_pages(
    counter: MultiTenantApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others have, a page looks through a bounded number."""
    monkeypatch.setattr("tokensvc.revocations.service.MAX_SCANNED", 4)
    mine = [counter.request("POST", "/v1/revocations", LEAST, key=TENANT_A).json["id"]]
    for number in range(9):
        counter.revoke(channelArn=OTHER, viewerId=f"v{number}")
    mine.append(counter.request("POST", "/v1/revocations", LEAST, key=TENANT_A).json["id"])
    pages: list[list[str]] = []
    query = "maxResults=9"
    while True:
        said = counter.request("GET", f"/v1/revocations?{query}", key=TENANT_A).json
        pages.append([shown["id"] for shown in said["revocations"]])
        if said["nextToken"] is None:
            break
        query = f"maxResults=9&nextToken={said['nextToken']}"
    assert pages == [[mine[1]], [], [mine[0]]]


INVENTED = [
    "arn:aws:ivs:moon-north-1:123456789012:channel/abcdefghijkl",
    "arn:aws:ivs:us-east-1:999999999999:channel/abcdefghijkl",
]


@pytest.mark.parametrize("invented", INVENTED, ids=["a region", "an account"])
def test_a_channel_without_a_signing_key_is_rejected_and_leaves_no_row(counter: MultiTenantApp, invented: str) -> None:
    counter.store.deployment.bind_account("123456789012")
    account_and_region = ", ".join(f"{kind} {invented.split(':')[n]}" for kind, n in (("account", 4), ("region", 3)))
    for path, body in (
        ("/v1/revocations", {"channelArns": [CHANNEL, invented], "viewerId": "ada"}),
        ("/v1/denials", {"channelArns": [CHANNEL, invented], "viewerId": "ada", "denySeconds": 60}),
    ):
        said = counter.request("POST", path, body)
        assert (said.status, said.json["code"]) == (422, "invalid_request")
        assert said.json["errors"] == [
            {"field": "channelArns", "message": f"no signing key is configured for {account_and_region}"}
        ]
    batch = [{"channelArn": invented, "viewerId": "ada"}, {"channelArn": CHANNEL, "viewerId": "eve"}]
    results = counter.request("POST", "/v1/revocations/batch", {"revocations": batch}).json["results"]
    assert ("problem" in results[0], "problem" in results[1]) == (True, False)
    assert list(counter.store.revocation_queue.backlogs()) == [HERE]
    assert {denial.channel for denial in counter.store.denials.in_force(("*",), limit=9)} == {CHANNEL}


def test_a_region_is_served_if_configured_or_if_it_has_or_had_a_key(counter: MultiTenantApp) -> None:
    counter.configured = []
    body = {"channelArn": CHANNEL, "viewerId": "ada"}
    assert counter.request("POST", "/v1/revocations", body).status == 422
    add_key(counter.store, "k1", HERE)
    counter.revoke()
    counter.configured = ["eu-west-1"]
    counter.store.deployment.bind_account("123456789012")
    counter.revoke(where=CHANNEL.replace("us-east-1", "eu-west-1"))


def test_a_caller_outside_its_patterns_does_not_learn_which_regions_are_served(counter: MultiTenantApp) -> None:
    said = counter.request("POST", "/v1/revocations", {"channelArn": INVENTED[0], "viewerId": "ada"}, key=TENANT_A)
    assert (said.status, said.json["code"]) == (403, "channel_not_allowed")


def test_a_batch_item_that_is_not_an_object_is_named(counter: MultiTenantApp) -> None:
    said = counter.request("POST", "/v1/revocations/batch", {"revocations": [LEAST, 5, None, []]}).json["results"]
    assert said[0]["state"] == "queued"
    assert [result["problem"]["errors"] for result in said[1:]] == [
        [{"field": f"revocations[{position}]", "message": "must be an object"}] for position in (1, 2, 3)
    ]


@pytest.mark.parametrize("path", ["/v1/revocations", "/v1/revocations/batch", "/v1/denials"])
def test_a_repeated_field_is_rejected_on_every_route(counter: MultiTenantApp, path: str) -> None:
    fields = b'"channelArn":"%b","viewerId":"ada","viewerId":"eve"' % CHANNEL.encode()
    body, name = (b'{"revocations":[{%b}]}', "revocations[0].viewerId") if "batch" in path else (b"{%b}", "viewerId")
    assert bad_fields(counter.request("POST", path, body % fields)) == [name]
    assert counter.listed() == []
