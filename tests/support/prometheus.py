"""A real Prometheus of a test's own, with rules, scraping what the test runs."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from urllib3.exceptions import HTTPError

from tests.support.deployment import free_port
from tests.support.http_client import Client
from tests.support.processes import environment, started

PROMETHEUS = shutil.which("prometheus")
INTERVAL_SECONDS = 1


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The present value of an instant vector."""
        return list(self._get("/api/v1/query?" + urlencode({"query": expression}))["result"])

    def value(self, expression: str) -> float | None:
        """The present value of an expression with one result; None while there is none."""
        result = self.query(expression)
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def healthy_targets(self) -> int:
        """How many targets the last scrapes reached."""
        return sum(target["health"] == "up" for target in self._get("/api/v1/targets")["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """The loaded rules."""
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str) -> Any:
        with Client(self.url) as client:
            response = client.get(path)
        assert response.status == 200, response
        return response.json["data"]


@contextlib.contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, list[str]], rules: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these targets, `host:port` by job, each second. Skips the test where there is none."""
    if PROMETHEUS is None:
        pytest.skip("prometheus is not installed: make system-packages")
    port = free_port()
    interval = f"{INTERVAL_SECONDS}s"
    configuration = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": addresses}]} for job, addresses in targets.items()
        ],
    }
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(configuration))
    command = [
        PROMETHEUS,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with started(command, folder, environment(folder / "home"), "prometheus") as process:

        def is_ready() -> bool:
            with contextlib.suppress(HTTPError), Client(f"http://127.0.0.1:{port}") as client:
                return client.get("/-/ready").status == 200
            return False

        process.wait_until(is_ready, "Prometheus is ready")
        yield Prometheus(f"http://127.0.0.1:{port}")
