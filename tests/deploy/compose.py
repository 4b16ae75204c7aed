"""deploy/compose.yaml as the Compose Specification reads it, and its services as processes of this machine.

Invariants
- What runs is what the file says: the command, the variables of the image and of the service, the secrets, the order
  and the health checks. Names of services become addresses of this machine, ports become free ones, and paths in a
  container become paths below the test's folder.
- PostgreSQL comes from a wheel. Grafana is not run: it cannot be had here.
"""

from __future__ import annotations

import re
import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import compose_spec

from tests.deploy.facts import DEPLOY
from tests.support.deployment import free_port
from tests.support.postgres import PostgresServer
from tests.support.processes import BINARIES, TOKENSVC, CommandResult, Process, environment, run, started, wait_until

FILE = DEPLOY / "compose.yaml"
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
SECRETS = "/run/secrets"
DATA = "/var/lib/tokensvc"
_ENV = re.compile(r"^ENV (.*?)(?<!\\)$", re.MULTILINE | re.DOTALL)


def parsed() -> dict[str, Any]:
    """The file, strictly parsed, with its anchors resolved. The parser knows tag or digest of an image, not both."""
    text = DIGEST.sub("", FILE.read_text("utf-8"))
    found = compose_spec.PyOptions(apply_merge=True).from_yaml(text)
    found.validate()
    return dict(found.to_dict())


def image_variables() -> dict[str, str]:
    """The TOKENSVC_… variables that the image sets."""
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    return dict(re.findall(r"(TOKENSVC_[A-Z_]+)=(\S+)", " ".join(_ENV.findall(text))))


def image_health_check() -> list[str]:
    """The health check of the image."""
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    return re.findall(r'"([^"]+)"', text.partition("HEALTHCHECK")[2].partition("\n")[0])


class ComposedProcesses:
    """The services of the file that are tokensvc, as processes."""

    def __init__(self, folder: Path, database_url: str, postgres: PostgresServer) -> None:
        self.services: dict[str, Any] = parsed()["services"]
        self._folder = folder
        self._postgres = postgres
        self.ports = {"ivs": free_port(), "tokensvc": free_port(), "prometheus": free_port()}
        self.admin_ports = {"tokensvc": free_port(), "worker": free_port()}
        (folder / "secrets").mkdir(mode=0o700)
        values = {"database_url": database_url, "passphrase": secrets.token_hex(32)}
        for name, value in values.items():
            (folder / "secrets" / name).write_text(value)
            (folder / "secrets" / name).chmod(0o400)
        (folder / "data").mkdir()
        self.processes: dict[str, Process] = {}

    def start(self, stack: ExitStack) -> None:
        """Start them, each once what it depends on is as the file says."""
        waiting = [name for name, service in self.services.items() if service["image"].startswith("tokensvc:")]
        done = {"db"}
        self._check_health("db")
        while waiting:
            name = next(name for name in waiting if set(self.services[name].get("depends_on", {})) <= done)
            waiting.remove(name)
            for needed, how in self.services[name].get("depends_on", {}).items():
                if how["condition"] == "service_healthy" and needed != "db":
                    wait_until(lambda n=needed: self._check_health(n).code == 0, f"{needed} is healthy")  # type: ignore[misc]
            command = [TOKENSVC, *map(self._local, self.services[name]["command"]), *self._options(name)]
            if self.services[name]["restart"] == "on-failure":
                run(command, self._folder, self.variables(name))
            else:
                self.processes[name] = stack.enter_context(started(command, self._folder, self.variables(name), name))
            done.add(name)

    def run(self, name: str, *command: str) -> CommandResult:
        """A command in the container of a service."""
        return run([TOKENSVC, *command], self._folder, self.variables(name))

    def is_healthy(self, name: str) -> bool:
        return self._check_health(name).code == 0

    def variables(self, name: str) -> dict[str, str]:
        """The environment of a service's process."""
        given = image_variables() | self.services[name].get("environment", {})
        ports = {
            "TOKENSVC_PORT": str(self.ports.get(name, free_port())),
            "TOKENSVC_ADMIN_PORT": str(self.admin_ports.get(name, free_port())),
            "TOKENSVC_KEY_PROPAGATION_SECONDS": "0",
            "TOKENSVC_SHUTDOWN_DELAY_SECONDS": "0",
        }
        return environment(self._folder / "home", {n: self._local(str(v)) for n, v in given.items()} | ports)

    def prometheus_configuration(self) -> str:
        """The configuration of Prometheus, with the addresses of the processes."""
        text = (DEPLOY / "compose/prometheus.yml").read_text("utf-8")
        for name, port in self.admin_ports.items():
            assert f'"{name}:9090"' in text
            text = text.replace(f'"{name}:9090"', f'"127.0.0.1:{port}"')
        return text.replace("/etc/prometheus/rules", str(DEPLOY / "prometheus")).replace("15s", "1s")

    def _check_health(self, name: str) -> CommandResult:
        check = self.services[name].get("healthcheck", {}).get("test") or ["CMD", *image_health_check()]
        programs = {
            "pg_isready": str(self._postgres.binaries / "pg_isready"),
            "python3": sys.executable,
            "tokensvc": str(BINARIES / "tokensvc"),
        }
        command = [programs[check[1]], *map(self._local, check[2:])]
        if name == "db":  # it listens on its socket alone
            socket = self._postgres.url("").partition("host=")[2]
            command = [word.replace("127.0.0.1", socket) for word in command]
        return run(command, self._folder, self.variables(name), code=None)

    def _options(self, name: str) -> list[str]:
        return ["--port", str(self.ports["ivs"])] if name == "ivs" else []

    def _local(self, text: str) -> str:
        text = text.replace(SECRETS, str(self._folder / "secrets")).replace(DATA, str(self._folder / "data"))
        text = text.replace("ivs:4599", f"127.0.0.1:{self.ports['ivs']}")
        return text.replace("4599", str(self.ports["ivs"]))
