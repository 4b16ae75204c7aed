"""The audit trail of a scripted day has a line for each thing that was done, and no other: in the store, over HTTP, at
the command line and in the stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.deployment import Deployment, LocalIvs, Service
from tests.support.processes import wait_until
from tokensvc.cli.operator import operator_actor

pytestmark = pytest.mark.long

OPERATOR = operator_actor().name
SCOPES = ("tokens:issue", "revocations:write", "revocations:read", "keys:admin", "keys:read", "audit:read")


class Line(NamedTuple):
    """What is compared of a record."""

    actor: str
    action: str
    target: str | None
    outcome: str
    occurrences: int = 1


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def day(ivs: LocalIvs, tmp_path: Path, stream: Path) -> Deployment:
    """A new deployment, all of whose processes write to one stream."""
    deployment = Deployment(ivs, tmp_path)
    deployment.environ["TOKENSVC_AUDIT_LOG"] = str(stream)
    return deployment


def line_of(record: dict[str, Any]) -> Line:
    outcome = record["code"] or record["outcome"]
    return Line(record["actor"]["name"], record["action"], record["target"], outcome, record["occurrences"])


def test_the_trail_of_a_day_is_what_was_done(day: Deployment, stream: Path) -> None:
    day.run("db", "upgrade", MAX_TTL_SECONDS="1800")
    first = day.run("keys", "generate", "--json").json["id"]
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    added = day.run("callers", "add", "ops", "--all-channels", "--audit-tokens", *scopes, "--json").json
    viewer_app = day.run("callers", "add", "shop", "--all-channels", "--json").json
    done = [
        Line(OPERATOR, "settings.update", None, "done"),
        Line(OPERATOR, "settings.update", None, "done"),
        *[Line(OPERATOR, f"keys.{step}", first, "done") for step in ("generate", "import", "activate")],
        Line(OPERATOR, "callers.add", "ops", "done"),
        Line(OPERATOR, "callers.add", "shop", "done"),
    ]
    with day.serve() as service:
        done += _over_http(day, service, added["apiKey"], viewer_app["apiKey"])
        [denial] = day.run("denials", "add", "--all-channels", "--viewer", "eve", "--deny-for", "60", "--json").json[
            "denials"
        ]
        day.run("denials", "remove", denial["id"], "--yes")
        day.run("callers", "disable", "shop", "--yes")
    done += [
        Line(OPERATOR, "denials.add", denial["id"], "done"),
        Line(OPERATOR, "denials.remove", denial["id"], "done"),
        Line(OPERATOR, "callers.disable", "shop", "done"),
    ]
    listed = day.run("audit", "list", "--json", "--max-results", "1000").json["records"]
    assert sorted(map(line_of, listed), key=repr) == sorted(done, key=repr)
    streamed = [json.loads(line) for line in stream.read_text().splitlines()]
    assert sorted(streamed, key=lambda record: record["number"]) == listed[::-1]
    assert [record["number"] for record in listed] == list(range(len(done), 0, -1))
    text = stream.read_text()
    assert not [secret for secret in ("ada", "eve", added["apiKey"], day.passphrase) if f'"{secret}"' in text]


def _over_http(day: Deployment, service: Service, ops: str, shop: str) -> list[Line]:
    """What callers do, and the lines that this leaves."""
    channel = day.new_channel()["arn"]
    with service.client(ops) as admin, service.client(shop) as limited:
        wait_until(lambda: admin.get("/v1/keys").status == 200, "the service knows the caller", 5)
        wait_until(lambda: limited.get("/v1/status").status == 403, "the service knows the other caller", 5)
        assert admin.token(channelArn=channel, viewerId="ada")
        accepted = admin.request("POST", "/v1/revocations", json.dumps({"channelArn": channel, "viewerId": "ada"}))
        assert accepted.status == 202
        fields = {"channelArn": channel, "viewerId": "eve", "denySeconds": 60}
        [denial] = admin.request("POST", "/v1/denials", json.dumps(fields)).json["denials"]
        assert admin.request("DELETE", f"/v1/denials/{denial['id']}").status == 204
        assert admin.request("DELETE", f"/v1/denials/{denial['id']}").status == 404, "not recorded: nothing was done"
        rotation = admin.request("POST", "/v1/keys/rotate", "{}").json["id"]
        assert limited.request("POST", "/v1/keys/rotate", "{}").status == 403
        assert limited.request_token(channelArn=channel).status == 403
        progress = f"/v1/keys/rotations/{rotation}"
        wait_until(lambda: admin.get(progress).json["done"], "the rotation is done", 20)
        [region] = admin.get(progress).json["regions"]
        revocation = accepted.json["id"]
        wait_until(lambda: _is_recorded(admin, "refused", "shop"), "the refusal is recorded", 10)
        request_ids = {record["requestId"] for record in admin.get("/v1/audit?actor=ops").json["records"]}
        assert len(request_ids) == 5
    return [
        Line("ops", "tokens.issue", channel, "done"),
        Line("ops", "revocations.accept", revocation, "done"),
        Line("ops", "denials.add", denial["id"], "done"),
        Line("ops", "denials.remove", denial["id"], "done"),
        Line("ops", "keys.rotate", rotation, "done"),
        *[
            Line("rotation", f"keys.{step}", region["activeKeyId"], "done")
            for step in ("generate", "import", "activate")
        ],
        Line("shop", "keys.rotate", None, "insufficient_scope"),
        Line("shop", "status.read", None, "insufficient_scope"),
        Line("shop", "tokens.issue", channel, "anonymous_viewer_not_allowed"),
    ]


def _is_recorded(client: Any, outcome: str, actor: str) -> bool:
    found = client.get(f"/v1/audit?outcome={outcome}&actor={actor}&action=keys").json["records"]
    return len(found) == 1
