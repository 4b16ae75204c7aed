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
NEW_PASSPHRASE = "x" * 64
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
    channel = day.new_channel()["arn"]
    with day.serve() as service:
        done += _over_http(channel, service, added["apiKey"], viewer_app["apiKey"])
        [denial] = day.run("denials", "add", "--all-channels", "--viewer", "eve", "--deny-for", "60", "--json").json[
            "denials"
        ]
        day.run("denials", "remove", denial["id"], "--yes")
        day.run("callers", "disable", "shop", "--yes")
        done += _failed_revocation(day, f"{channel}0")
    done += [
        Line(OPERATOR, "denials.add", denial["id"], "done"),
        Line(OPERATOR, "denials.remove", denial["id"], "done"),
        Line(OPERATOR, "callers.disable", "shop", "done"),
        *_tokens_and_revocations(day, channel),
        *_changes_of_callers(day),
        *_ends_of_keys(day, first),
        *_new_passphrase(day),
    ]
    listed = day.run("audit", "list", "--json", "--max-results", "1000").json["records"]
    assert sorted(map(line_of, listed), key=repr) == sorted(done, key=repr)
    streamed = [json.loads(line) for line in stream.read_text().splitlines()]
    assert sorted(streamed, key=lambda record: record["number"]) == listed[::-1]
    assert [record["number"] for record in listed] == list(range(len(done), 0, -1))
    text = stream.read_text()
    secrets = ("ada", "eve", "mallory", added["apiKey"], day.passphrase, NEW_PASSPHRASE)
    assert not [secret for secret in secrets if f'"{secret}"' in text]


def _over_http(channel: str, service: Service, ops: str, shop: str) -> list[Line]:
    """What callers do, and the lines that this leaves."""
    with service.client(ops) as admin, service.client(shop) as limited:
        wait_until(lambda: admin.get("/v1/keys").status == 200, "the service knows the caller")
        wait_until(lambda: limited.get("/v1/status").status == 403, "the service knows the other caller")
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
        wait_until(lambda: admin.get(progress).json["done"], "the rotation is done")
        [region] = admin.get(progress).json["regions"]
        revocation = accepted.json["id"]
        wait_until(lambda: _is_recorded(admin, "refused", "shop"), "the refusal is recorded")
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


def _failed_revocation(day: Deployment, unknown_channel: str) -> list[Line]:
    """A revocation that IVS rejects, and its retry."""
    revocation = _revoke(day, unknown_channel)
    wait_until(lambda: _has_failed(day, revocation), "IVS rejects the revocation")
    day.run("revocations", "retry", revocation)
    return [
        Line(OPERATOR, "revocations.accept", revocation, "done"),
        Line(OPERATOR, "revocations.retry", revocation, "done"),
    ]


def _has_failed(day: Deployment, revocation: str) -> bool:
    [target] = day.run("revocations", "show", revocation, "--json").json["targets"]
    return bool(target["state"] == "failed")


def _tokens_and_revocations(day: Deployment, channel: str) -> list[Line]:
    """A token of the operator, and a revocation that is cancelled while no worker delivers it."""
    day.run("tokens", "issue", "--channel", channel, "--viewer", "mallory")
    revocation = _revoke(day, channel)
    day.run("revocations", "cancel", revocation, "--yes")
    day.run("revocations", "cancel", revocation, "--yes")
    return [
        Line(OPERATOR, "tokens.issue", channel, "done"),
        Line(OPERATOR, "revocations.accept", revocation, "done"),
        Line(OPERATOR, "revocations.cancel", revocation, "done"),
    ]


def _revoke(day: Deployment, channel: str) -> str:
    revoked = day.run("revocations", "add", "--channel", channel, "--viewer", "mallory", "--json").json
    return str(revoked["id"])


def _changes_of_callers(day: Deployment) -> list[Line]:
    """Changes by options and by a policy file, each made twice: what changes nothing is not recorded."""
    file = day.folder / "callers.toml"
    file.write_text('[callers.shop]\nchannels = ["*"]\n[callers.web]\nchannels = ["*"]\n')
    update, enable, apply = (
        ["callers", *words]
        for words in (["update", "shop", "--max-ttl", "1m"], ["enable", "shop"], ["apply", str(file)])
    )
    commands = [update, update, enable, enable, apply, apply, ["callers", "rotate-secret", "shop"]]
    result = day.run_all(*[(command, {}) for command in commands])
    assert result.err.count("exited with 0") == len(commands), result.err
    return [
        Line(OPERATOR, "callers.update", "shop", "done"),
        Line(OPERATOR, "callers.enable", "shop", "done"),
        Line(OPERATOR, "callers.apply", "shop", "done"),
        Line(OPERATOR, "callers.apply", "web", "done"),
        Line(OPERATOR, "callers.rotate_secret", "shop", "done"),
    ]


def _ends_of_keys(day: Deployment, rotated: str) -> list[Line]:
    """A prepared key is deleted, the active one is compromised, and the one that replaces it is retired. `rotated` is
    the key that the day's rotation replaced: it takes over, until that rotation is carried out once more."""
    compromised = _active_key(day)
    prepared = day.run("keys", "generate", "--json").json["id"]
    day.run("keys", "delete", prepared, "--yes")
    day.run("keys", "compromise", compromised, "--yes")
    replacement = _active_key(day)
    assert replacement not in (rotated, prepared)
    rotation = day.run("keys", "retire", replacement, "--yes", "--json").json["id"]
    new_keys = [replacement, _active_key(day)]
    return [
        *[Line(OPERATOR, f"keys.{step}", prepared, "done") for step in ("generate", "import", "delete")],
        *[Line(OPERATOR, f"keys.{step}", compromised, "done") for step in ("compromise", "delete")],
        Line(OPERATOR, "keys.rotate", rotation, "done"),
        *[
            Line(OPERATOR, f"keys.{step}", key, "done")
            for key in new_keys
            for step in ("generate", "import", "activate")
        ],
    ]


def _active_key(day: Deployment) -> str:
    [active] = [
        key["id"]
        for key in day.run("keys", "list", "--json").json["keys"]
        if any(placement["state"] == "active" for placement in key["placements"])
    ]
    return str(active)


def _new_passphrase(day: Deployment) -> list[Line]:
    """All secrets are encrypted with another passphrase."""
    day.environ["TOKENSVC_PREVIOUS_PASSPHRASE"], day.environ["TOKENSVC_PASSPHRASE"] = day.passphrase, NEW_PASSPHRASE
    current = day.run("keys", "rewrap", "--json").json["current"]
    day.run("keys", "rewrap")
    return [Line(OPERATOR, "keys.rewrap", current, "done")]


def _is_recorded(client: Any, outcome: str, actor: str) -> bool:
    found = client.get(f"/v1/audit?outcome={outcome}&actor={actor}&action=keys").json["records"]
    return len(found) == 1
