"""deploy/compose.yaml: what it names exists, what it opens is on loopback, and its services work together.

No container engine with Compose is needed: the services run as processes, with the commands, variables, secrets and
health checks of the file. The images of PostgreSQL, Prometheus and Grafana are not run; PostgreSQL and Prometheus are
those of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.deploy.compose import (
    DIGEST,
    FILE,
    SECRETS,
    ComposedProcesses,
    image_health_check,
    image_variables,
    parsed,
)
from tests.deploy.facts import DEPLOY, expected_processes, is_command, named_variables, plain_secrets, unknown_variables
from tests.support.deployment import REGION
from tests.support.http_client import Client, fetch
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.postgres import unavailable_reason as postgres_unavailable_reason
from tests.support.processes import environment, started, wait_until
from tokensvc.settings import read_settings

SERVICES: dict[str, Any] = parsed()["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("tokensvc:")]


def test_it_has_what_a_deployment_needs() -> None:
    assert set(SERVICES) == {"db", "ivs", "migration", "tokensvc", "worker", "prometheus", "grafana"}
    processes = int(SERVICES["tokensvc"]["environment"]["TOKENSVC_WORKERS"]) + 1
    assert expected_processes(DEPLOY / "prometheus" / "tokensvc.rules.yml") == processes


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_names_settings_and_commands_that_exist(name: str) -> None:
    service = SERVICES[name]
    variables = service.get("environment", {})
    assert unknown_variables(variables) == []
    assert plain_secrets(variables) == []
    command = service["command"]
    options = next((n for n, word in enumerate(command) if word.startswith("-")), len(command))
    assert is_command(command[:options])
    mounted = {value.rpartition("/")[2] for value in map(str, variables.values()) if value.startswith(SECRETS)}
    assert mounted == set(service.get("secrets", []))


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_has_no_right_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image has a user of its own"


def test_what_is_published_is_on_loopback_and_on_a_port_that_is_served() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "ivs": ["127.0.0.1:4599:4599"],
        "tokensvc": ["127.0.0.1:8080:8080"],
        "prometheus": ["127.0.0.1:9091:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert image_variables() == {
        "TOKENSVC_HOST": "0.0.0.0",
        "TOKENSVC_ADMIN_HOST": "0.0.0.0",
        "TOKENSVC_ADMIN_PORT": "9090",
    }


def test_files_volumes_networks_and_services_that_it_names_exist() -> None:
    everything = parsed()
    generated = (DEPLOY.parent / ".gitignore").read_text().splitlines()
    assert {secret["file"] for secret in everything["secrets"].values()} == {
        f"./compose/secrets/{name}" for name in everything["secrets"]
    }
    assert "deploy/compose/secrets/" in generated
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(everything["secrets"])
        assert set(service.get("networks", [])) <= set(everything["networks"])
        assert set(service.get("depends_on", [])) <= set(SERVICES)
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert mount.endswith(":ro")
                assert (DEPLOY / source).exists(), source
            else:
                assert source in everything["volumes"]
    build = SERVICES["tokensvc"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of root")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: make system-packages")
def test_its_secrets_are_made_once_and_are_accepted_in_the_containers(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose/secrets.sh", tmp_path)
    command = [tmp_path / "secrets.sh"]
    subprocess.run(command, check=True)
    files = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert set(files) == set(parsed()["secrets"])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in files.values()} == {(0, 0o444)}
    password = files["postgres_password"].read_text()
    environ = {
        "TOKENSVC_DATABASE_URL_FILE": str(files["database_url"]),
        "TOKENSVC_PASSPHRASE_FILE": str(files["passphrase"]),
    }
    url = read_settings(environ).database_url
    assert url is not None
    assert url.get_secret_value() == f"postgresql://tokensvc:{password}@db/tokensvc"
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (1, "secrets exists; nothing was changed\n")
    assert files["postgres_password"].read_text() == password


def test_nothing_starts_before_what_it_needs_works() -> None:
    for name in ("tokensvc", "worker"):
        needed = {name: how["condition"] for name, how in SERVICES[name]["depends_on"].items()}
        assert needed == {"migration": "service_completed_successfully", "ivs": "service_healthy"}
    assert SERVICES["migration"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    for name in ("db", "ivs", "prometheus"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD", "no shell is needed"
    assert image_health_check() == ["tokensvc", "health"]


def test_images_of_others_are_named_by_tag_and_digest() -> None:
    images = re.findall(r"^ +image: (\S+)$", FILE.read_text(), re.MULTILINE)
    others = [image for image in images if not image.startswith("tokensvc:")]
    assert len(others) == 3
    assert all(DIGEST.search(image) and ":" in image.partition("@")[0] for image in others)


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    sources = yaml.safe_load((DEPLOY / "compose/grafana/datasources.yml").read_text())
    [source] = sources["datasources"]
    assert urllib.parse.urlsplit(source["url"]).hostname in SERVICES
    providers = yaml.safe_load((DEPLOY / "compose/grafana/dashboards.yml").read_text())
    [provider] = providers["providers"]
    [mount] = [m for m in SERVICES["grafana"]["volumes"] if m.split(":")[1] == provider["options"]["path"]]
    assert list((DEPLOY / mount.split(":")[0]).glob("*.json")), "no dashboard"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed: make system-packages")
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    text = (DEPLOY / "compose/prometheus.yml").read_text()
    rules = next(mount for mount in SERVICES["prometheus"]["volumes"] if "/rules:" in mount).split(":")
    (tmp_path / "prometheus.yml").write_text(text.replace(rules[1], str(DEPLOY / rules[0])))
    checked = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"[1-9]\d* rules found", checked.stdout)


def test_what_it_says_of_tokensvc_is_checked_too() -> None:
    names = {name.removesuffix("_") for name in named_variables(FILE.read_text())}
    assert unknown_variables(names) == []


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    if reason := postgres_unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.mark.long
@pytest.mark.e2e
@pytest.mark.postgres
def test_its_services_issue_a_token_together_and_prometheus_watches_them(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    composed = ComposedProcesses(tmp_path, postgres.url(postgres.fresh()), postgres)
    with ExitStack() as stack:
        composed.start(stack)
        wait_until(lambda: composed.is_healthy("worker"), "the worker is healthy")
        key = composed.run("tokensvc", "callers", "add", "web", "--all-channels", "--json").json["apiKey"]
        wait_until(lambda: composed.is_healthy("tokensvc"), "the service is healthy: the worker has made its keys")
        keys = composed.run("tokensvc", "keys", "list", "--json").json["keys"]
        assert [entry["state"] for key in keys for entry in key["placements"]].count("active") == 1
        public, ivs = (f"http://127.0.0.1:{composed.ports[name]}" for name in ("tokensvc", "ivs"))
        channels = boto3.client(
            "ivs", region_name=REGION, endpoint_url=ivs, aws_access_key_id="test", aws_secret_access_key="test"
        )
        channel = channels.create_channel(authorized=True)["channel"]["arn"]
        channels.close()
        with Client(public, key) as caller:
            wait_until(lambda: caller.get("/v1/revocations").status != 401, "the service knows the caller")
            token = caller.token(channelArn=channel, viewerId="ada")
            assert token["token"].count(".") == 2
            assert caller.get("/metrics").status == 404
        if shutil.which("prometheus") is not None:
            _check_monitoring(composed, stack, tmp_path)


def _check_monitoring(composed: ComposedProcesses, stack: ExitStack, folder: Path) -> None:
    """Prometheus, with the file's configuration, scrapes both processes and has the rules."""
    (folder / "prometheus.yml").write_text(composed.prometheus_configuration())
    url = f"http://127.0.0.1:{composed.ports['prometheus']}"
    listen = f"--web.listen-address=127.0.0.1:{composed.ports['prometheus']}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", listen]
    process = stack.enter_context(started(command, folder, environment(folder / "home"), "prometheus"))
    process.wait_until(lambda: "Server is ready" in process.err, "Prometheus is ready")

    def answer(path: str) -> Any:
        return json.loads(fetch(f"{url}/api/v1/{path}").body)["data"]

    query = urllib.parse.quote('sum(up{job="tokensvc"}) and sum(tokensvc_token_requests_total) > 0')
    wait_until(lambda: [r["value"][1] for r in answer(f"query?query={query}")["result"]] == ["2"], "both are scraped")
    assert sum(len(group["rules"]) for group in answer("rules")["groups"]) > 10
