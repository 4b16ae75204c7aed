"""A deployment that is configured by a settings file alone, as real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, LocalIvs
from tests.support.http_client import Client
from tests.support.processes import TOKENSVC, run, started

pytestmark = pytest.mark.long

TYPES = {"true": "true", "false": "false"}


def as_file(deployment: Deployment, path: Path, **more: str) -> dict[str, str]:
    """Write the deployment's settings to a file, and return the environment without them."""
    given = {n: v for n, v in deployment.environ.items() if n.startswith("TOKENSVC_")} | {
        f"TOKENSVC_{n}": v for n, v in more.items()
    }
    lines = []
    for name, value in given.items():
        is_plain = value in TYPES or value.replace(".", "", 1).isdigit()
        lines.append(f"{name.removeprefix('TOKENSVC_').lower()} = {value if is_plain else repr(value)}")
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return {name: value for name, value in deployment.environ.items() if name not in given}


@pytest.fixture
def deployment(ivs: LocalIvs, tmp_path: Path) -> Deployment:
    return Deployment(ivs, tmp_path)


@pytest.mark.slow
def test_every_command_and_every_worker_process_takes_its_settings_from_the_file(deployment: Deployment) -> None:
    path = deployment.folder / "tokensvc.toml"
    environ = as_file(deployment, path, WORKERS="2")
    for command in (["db", "upgrade"], ["keys", "generate"], ["callers", "add", "web", "--all-channels"]):
        run([TOKENSVC, *command, "--config", "tokensvc.toml"], deployment.folder, environ)
    with started([TOKENSVC, "--config", "tokensvc.toml", "serve"], deployment.folder, environ, "serve") as process:
        process.wait_until(lambda: process.err.count('"event": "serving"') == 2, "both workers serve")
        port = next(json.loads(line)["port"] for line in process.err.splitlines() if '"serving"' in line)
        path.unlink()  # it was read once, and the workers got its settings
        os.kill(process.children()[0], signal.SIGKILL)
        process.wait_until(lambda: process.err.count('"event": "serving"') == 3, "the new worker serves")
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.get("/readyz").status == 200


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="bash is not installed")
def test_a_file_from_a_pipe_is_read_once(deployment: Deployment) -> None:
    environ = as_file(deployment, deployment.folder / "tokensvc.toml")
    deployment.run("db", "upgrade")
    script = f"{TOKENSVC} keys list --ivs --config <(cat tokensvc.toml)"
    assert "key slots used" in run(["/bin/bash", "-c", script], deployment.folder, environ).out


def test_the_variable_names_the_file_and_other_variables_take_precedence(deployment: Deployment) -> None:
    environ = as_file(deployment, deployment.folder / "tokensvc.toml", PORT="8123")
    environ |= {"TOKENSVC_CONFIG": "tokensvc.toml", "TOKENSVC_WORKERS": "3"}
    result = run([TOKENSVC, "settings", "--json"], deployment.folder, environ).json
    assert result["TOKENSVC_PORT"]["value"] == 8123
    assert result["TOKENSVC_PORT"]["source"].startswith("tokensvc.toml:")
    assert result["TOKENSVC_WORKERS"] == {"value": 3, "source": "TOKENSVC_WORKERS"}


def test_serve_reports_every_error_of_file_and_environment_and_exits_with_2(deployment: Deployment) -> None:
    path = deployment.folder / "bad.toml"
    path.write_text("port = '8080'\nworker = 2\n")
    for arguments in (
        ["--config", "bad.toml", "serve"],
        ["serve", "--config", "bad.toml"],
        ["serve", "--config=bad.toml"],
    ):
        result = run([TOKENSVC, *arguments], deployment.folder, deployment.environ | {"TOKENSVC_PORTS": "1"}, code=2)
        assert result.err == (
            "tokensvc: bad.toml:1: port: must be an integer, without quotes; this is a string\n"
            "bad.toml:2: worker: is not a setting; did you mean workers?\n"
            "TOKENSVC_PORTS: is not a setting; did you mean TOKENSVC_PORT?\n"
        )
