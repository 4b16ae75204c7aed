"""A real Prometheus scrapes a deployment of two workers and a `worker`: every panel has data, and an alert fires."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generator import alerts
from tests.deploy.test_dashboards import FILES, queries
from tests.support.deployment import Deployment, LocalIvs, Service, free_port, local_ivs
from tests.support.http_client import Client
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, running_issuer
from tests.support.policy_hook import Hook, running_hook
from tests.support.processes import TOKENSVC, started, wait_until
from tests.support.prometheus import Prometheus, running_prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.long]

WITHOUT_SERIES_WHILE_ALL_IS_WELL = {
    "Refused and failed, by outcome",
    "Failed background tasks",
    "Not accepted, by error",
    "Requests that failed",
    "Transactions that failed",
}
"""Panels of counters whose label values are not known in advance."""
ONLY_WITH_MULTIBUFFER = {"Signatures per call of the multi-buffer signer"}


@pytest.fixture(scope="module")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@contextlib.contextmanager
def scraped(deployment: Deployment, hook: Hook, folder: Path) -> Iterator[tuple[Service, Prometheus]]:
    """Two workers, a `worker` and a Prometheus."""
    port = str(free_port())
    hook_settings = {"POLICY_HOOK_URL": hook.url, "POLICY_HOOK_SECRET": "a secret of the hook"}
    with deployment.serve(WORKERS="2", BACKGROUND_TASKS="false", **hook_settings) as service:
        environ = deployment.environ | {"TOKENSVC_ADMIN_PORT": port}
        with started([TOKENSVC, "worker"], folder, environ, "worker") as worker:
            targets = {"tokensvc": [service.url.partition("//")[2], f"127.0.0.1:{port}"]}
            with running_prometheus(folder, targets, alerts.RULES) as prometheus:
                worker.wait_until(lambda: prometheus.healthy_targets() == 2, "Prometheus scrapes both")
                yield service, prometheus


class Traffic:
    """Requests of every kind, until it is stopped."""

    def __init__(self, url: str, keys: list[str], channel_arn: str, issuer: OidcIssuer) -> None:
        self.statuses = set[int]()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._request, args=(url, key, channel_arn))
            for key in (*keys, issuer.token(sub="viewer-7"))
        ]
        for thread in self._threads:
            thread.start()

    def _request(self, url: str, key: str, channel_arn: str) -> None:
        viewer = {} if key.startswith("ey") else {"viewerId": "viewer-1"}
        with Client(url, key) as client:
            while not self._stopped.wait(0.01):
                self.statuses.add(client.request_token(channelArn=channel_arn, **viewer).status)
                client.request_batch([{"channelArn": channel_arn, **viewer}] * 16)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def set_up(deployment: Deployment, issuer: OidcIssuer) -> list[str]:
    """Two backends, of which one has a limit that it reaches, and a viewer app."""
    unlimited = deployment.set_up()
    limited = deployment.add_caller("--all-channels", "--caller-per-minute", "60")
    policies = deployment.folder / "policies.toml"
    bearer = f'{{ issuer = "{issuer.url}", audience = "{AUDIENCE}" }}'
    policies.write_text(f'[callers.app]\nchannels = ["*"]\nbearer = {bearer}\n')
    deployment.run("callers", "apply", str(policies))
    return [unlimited, limited]


def test_every_panel_has_data_and_an_outage_of_the_hook_fires_an_alert(ivs: LocalIvs, tmp_path: Path) -> None:
    deployment = Deployment(ivs, tmp_path)
    with running_issuer() as issuer, running_hook() as hook, contextlib.ExitStack() as running:
        keys = set_up(deployment, issuer)
        channel_arn = deployment.new_channel()["arn"]
        service, prometheus = running.enter_context(scraped(deployment, hook, tmp_path))
        assert {rule["name"] for rule in prometheus.rules()} == {rule.name for rule in alerts.rules()}
        traffic = Traffic(service.url, keys, channel_arn, issuer)
        running.callback(traffic.stop)
        deployment.run("revocations", "add", "--channel", channel_arn, "--viewer", "viewer-9")
        wait_until(lambda: {201, 429} <= traffic.statuses, "tokens are issued, and some are refused")

        with contextlib.suppress(AssertionError):  # the next one names the panels
            wait_until(lambda: not _unexpectedly_without_data(prometheus), "every panel has data", 120)
        assert not _unexpectedly_without_data(prometheus)
        issued = prometheus.value('sum(rate(tokensvc_token_requests_total{outcome="issued",job="tokensvc"}[15s]))')
        assert issued
        assert issued > 1
        assert "TokensvcErrorBudgetFastBurn" not in prometheus.firing()

        hook.status = 500
        wait_until(lambda: "TokensvcErrorBudgetFastBurn" in prometheus.firing(), "the alert fires", 120)
        assert 503 in traffic.statuses


def _unexpectedly_without_data(prometheus: Prometheus) -> set[str]:
    """The titles of the panels that traffic fills, and that have no data."""
    return _without_data(prometheus) - WITHOUT_SERIES_WHILE_ALL_IS_WELL - ONLY_WITH_MULTIBUFFER


def _without_data(prometheus: Prometheus) -> set[str]:
    """The titles of the panels of which a query has no result, or only results that are not numbers."""
    return {
        title
        for file in FILES
        for title, query in queries(file)
        if all(series["value"][1] == "NaN" for series in prometheus.query(query))
    }
