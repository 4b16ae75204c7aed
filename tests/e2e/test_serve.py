"""`tokensvc serve`: when it refuses to start, how it stops, and what happens when a process is killed."""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import closing
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from tests.storage import prerelease
from tests.support.deployment import Deployment, LocalIvs, Service, free_port
from tests.support.http_client import Client, client_per_worker, load
from tests.support.postgres import PostgresServer
from tests.support.processes import TOKENSVC, environment, is_alive, run, wait_until
from tokensvc.storage.store import open_store
from tokensvc.vault import envelope
from tokensvc.vault.envelope import Envelope

STOPS_WITHIN_SECONDS = 25
DELAY_SECONDS = 4.0


def test_all_missing_settings_are_reported_together(tmp_path: Path) -> None:
    result = run([TOKENSVC, "serve"], tmp_path, environment(tmp_path / "home"), code=2)
    for variable in ("TOKENSVC_CONTROL_PLANE", "TOKENSVC_DATABASE_URL", "TOKENSVC_PASSPHRASE"):
        assert f"{variable}: must be set" in result.err
    assert "Traceback" not in result.err


def test_invalid_and_unknown_variables_are_reported_together_by_name(deployment: Deployment) -> None:
    result = deployment.run("serve", code=2, WORKRES="2", PORT="http", SIGNER="none", SNAPSHOT_LEASE_SECONDS="1")
    assert "TOKENSVC_WORKRES: is not a setting; did you mean TOKENSVC_WORKERS?" in result.err
    for variable in ("TOKENSVC_PORT", "TOKENSVC_SIGNER", "TOKENSVC_SNAPSHOT_LEASE_SECONDS"):
        assert f"{variable}: " in result.err


def test_a_policy_hook_without_a_secret_is_rejected_before_a_worker_serves(deployment: Deployment) -> None:
    result = deployment.run("serve", code=2, POLICY_HOOK_URL="https://policy.example.com/decide")
    assert "TOKENSVC_POLICY_HOOK_SECRET: must be set" in result.err
    result = deployment.run("serve", code=2, POLICY_HOOK_URL="http://policy.example.com/decide")
    assert "TOKENSVC_POLICY_HOOK_URL: must begin with https://" in result.err


def test_a_wrong_passphrase_is_rejected_by_name_and_not_echoed(deployment: Deployment) -> None:
    wrong = secrets.token_hex(32)
    result = deployment.run("serve", code=1, PASSPHRASE=wrong)
    assert "the passphrase is not the one that this store's secrets are encrypted with" in result.err
    assert wrong not in result.out + result.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_undecryptable_subject_key_is_reported_before_a_worker_serves(
    ivs: LocalIvs, tmp_path: Path, workers: str
) -> None:
    deployment = Deployment(ivs, tmp_path)
    deployment.run("db", "upgrade")
    with closing(open_store(deployment.environ["TOKENSVC_DATABASE_URL"])) as store:
        store.deployment.add_subject_key(1, envelope.write(Envelope("passphrase:previous", b"", b"sealed")))
    result = deployment.run("serve", code=1, WORKERS=workers)
    assert "the store's subject key: it is encrypted with passphrase:previous" in result.err
    assert '"serving"' not in result.err
    assert "Traceback" not in result.err


def test_a_missing_store_is_rejected_and_not_created(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    assert "tokensvc db upgrade" in deployment.run("serve", code=1, DATABASE_URL=f"sqlite:///{path}").err
    assert not path.exists()
    path.touch()
    assert "tokensvc db upgrade" in deployment.run("serve", code=1, DATABASE_URL=f"sqlite:///{path}").err


def test_a_store_of_a_development_version_is_rejected(deployment: Deployment, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    prerelease.restore(url)
    result = deployment.run("serve", code=1, DATABASE_URL=url)
    assert "has the schema 0008 of a development version" in result.err
    assert "move the old database away, then run `tokensvc db upgrade`" in result.err
    assert "Traceback" not in result.err


def test_a_different_control_plane_than_the_store_s_is_rejected(deployment: Deployment) -> None:
    environ = {name: value for name, value in deployment.environ.items() if name != "AWS_ENDPOINT_URL_IVS"}
    environ["TOKENSVC_CONTROL_PLANE"] = "aws"
    result = run([TOKENSVC, "serve"], deployment.folder, environ, code=4)
    assert "local" in result.err
    assert "aws" in result.err


def test_a_port_in_use_is_rejected_by_name(deployment: Deployment, service: Service) -> None:
    result = deployment.run("serve", code=2, PORT=service.url.rpartition(":")[2])
    assert "TOKENSVC_PORT: cannot listen on" in result.err


def test_at_shutdown_it_is_unready_immediately_and_no_request_fails(
    deployment: Deployment, key: str, channel: Any
) -> None:
    with deployment.serve(WORKERS="2", SHUTDOWN_DELAY_SECONDS=str(DELAY_SECONDS)) as service:
        with service.client() as watcher, load(service.url, key, channel["arn"]) as running:
            assert watcher.get("/readyz").status == 200
            wait_until(lambda: len(running.requests) > 20, "more than 20 requests were sent")
            stopped_at = time.monotonic()
            service.process.send(SIGTERM)
            wait_until(lambda: watcher.get("/readyz").status == 503, "the service is not ready", DELAY_SECONDS / 2)
            assert watcher.get("/readyz").json["code"] == "draining"
            code = service.process.wait_for_exit(STOPS_WITHIN_SECONDS)
            finished_at = time.monotonic()
        assert code == 0, service.process.err
        assert finished_at - stopped_at >= DELAY_SECONDS
        served = [request for request in running.requests if request.started_at < stopped_at + DELAY_SECONDS - 1]
        assert {request.status for request in served} == {201}, {request.code for request in served}
        assert any(request.started_at > stopped_at for request in served)
        assert "Traceback" not in service.process.err


@pytest.mark.long
def test_a_killed_worker_is_replaced_and_workers_die_with_their_parent(
    deployment: Deployment, key: str, channel: Any
) -> None:
    with deployment.serve(WORKERS="2") as service:
        victim, other = service.process.children()
        os.kill(victim, SIGKILL)
        children = wait_until(lambda: _two_without(service, victim), "the worker is replaced")
        assert other in children
        with service.client(key) as caller:
            wait_until(
                lambda: caller.request_token(channelArn=channel["arn"], viewerId="ada").status == 201,
                "tokens are issued",
            )
        wait_until(lambda: service.process.err.count('"event": "serving"') == 3, "the new worker serves")
        service.process.kill()
        wait_until(lambda: not any(map(is_alive, children)), "the workers exit with their parent", STOPS_WITHIN_SECONDS)
        assert "worker exited and will be restarted" in service.process.err


def _two_without(service: Service, victim: int) -> list[int]:
    children = service.process.children()
    return children if len(children) == 2 and victim not in children else []


def test_it_logs_one_line_per_request_and_no_unknown_path(deployment: Deployment) -> None:
    with deployment.serve() as service, service.client() as client:
        request_id = client.get("/.well-known/jwks.json?token=eyJhbGciOiJFUzM4NCJ9.e30.x").headers["x-request-id"]
        client.get("/someone/pasted/this")
        wait_until(lambda: service.process.err.count('"request"') == 2, "both lines are logged")
        known, unknown = [json.loads(line) for line in service.process.err.splitlines() if '"request"' in line]
        assert (known["path"], known["status"], known["request_id"]) == ("/.well-known/jwks.json", 200, request_id)
        assert (unknown["path"], unknown["status"]) == ("-", 404)


@pytest.mark.long
def test_two_workers_on_postgresql(ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path) -> None:
    deployment = Deployment(ivs, tmp_path, postgres.url(postgres.fresh()))
    key, channel, admin_port = deployment.set_up(), deployment.new_channel(), free_port()
    settings = {"WORKERS": "2", "ADMIN_PORT": str(admin_port)}
    with deployment.serve(**settings) as service, client_per_worker(service.url, key, 2) as callers:
        for caller in callers.values():
            assert caller.request_token(channelArn=channel["arn"], viewerId="ada").status == 201
        deployment.run("keys", "rotate")
        wait_until(lambda: all(map(_publishes_two, callers.values())), "both workers publish the new key")
    assert deployment.run("doctor", "--json").json["ok"] is True


def _publishes_two(caller: Client) -> bool:
    return len(caller.get("/.well-known/jwks.json").json["keys"]) == 2
