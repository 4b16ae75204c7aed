"""What the admin listener serves, by the address that it is bound to."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment, free_port
from tests.support.http_client import Client
from tests.support.processes import TOKENSVC, started

MONITORING = ("/metrics", "/livez", "/readyz")
ADMIN = ("/v1/status", "/v1/audit", "/v1/keys", "/openapi.json")
HUGE_HEAD = b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 2_000_000


def statuses(client: Client, paths: tuple[str, ...]) -> list[int]:
    return [client.get(path).status for path in paths]


@contextlib.contextmanager
def serving(deployment: Deployment, port: int, **settings: str) -> Iterator[tuple[Client, Client]]:
    """A service with an admin listener on this port: clients of its public and of its admin listener, on loopback."""
    ipv6 = ":" in settings.get("ADMIN_HOST", "")
    url = f"http://{'[::1]' if ipv6 else '127.0.0.1'}:{port}"
    with (
        deployment.serve(ADMIN_PORT=str(port), BACKGROUND_TASKS="false", **settings) as service,
        service.client() as public,
        Client(url) as admin,
    ):
        yield public, admin


def test_on_all_addresses_two_workers_serve_metrics_and_probes_alone_there(deployment: Deployment) -> None:
    port = free_port()
    with serving(deployment, port, ADMIN_HOST="0.0.0.0", WORKERS="2") as (public, admin):
        assert statuses(admin, MONITORING) == [200] * 3
        assert statuses(admin, ADMIN) == [404] * 4
        assert admin.request("POST", "/v1/keys/rotate", b"{}").status == 404
        missing = admin.get("/v1/keys").json
        assert missing["code"] == "route_not_found"
        assert missing["detail"] == "Unknown route; this listener serves /metrics, /livez and /readyz."
        assert statuses(public, ("/metrics", *ADMIN)) == [404] * 4 + [200]
        assert statuses(public, ("/livez", "/readyz", "/v1/revocations")) == [200, 200, 401]
        with socket.create_connection(("127.0.0.1", port), 5) as hostile:
            with contextlib.suppress(ConnectionError):
                hostile.sendall(HUGE_HEAD)
            with contextlib.suppress(ConnectionError):
                assert hostile.recv(64).startswith(b"HTTP/1.1 431 ")
        assert statuses(admin, MONITORING) == [200] * 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "has_admin_routes"),
    [
        ({"ADMIN_HOST": "127.0.0.1"}, True),
        ({"ADMIN_HOST": "localhost"}, True),
        ({"ADMIN_HOST": "::1"}, True),
        ({"ADMIN_HOST": "0.0.0.0"}, False),
        ({"ADMIN_HOST": "::"}, False),
        ({"ADMIN_HOST": "0.0.0.0", "ADMIN_ROUTES": "true"}, True),
        ({"ADMIN_HOST": "::", "ADMIN_ROUTES": "true"}, True),
        ({"ADMIN_HOST": "127.0.0.1", "ADMIN_ROUTES": "false"}, False),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_the_admin_routes_are_where_only_this_machine_reaches_them_or_where_they_are_named(
    deployment: Deployment, settings: dict[str, str], has_admin_routes: bool
) -> None:
    with serving(deployment, free_port(), **settings) as (public, admin):
        assert statuses(admin, MONITORING) == [200] * 3
        assert statuses(admin, ADMIN) == ([401, 401, 401, 200] if has_admin_routes else [404] * 4)
        assert statuses(public, ("/metrics", "/v1/status", "/v1/audit", "/v1/keys")) == [404] * 4


@pytest.mark.parametrize(("host", "described"), [("0.0.0.0", 404), ("127.0.0.1", 200)])
def test_worker_serves_metrics_and_probes_and_says_why_it_is_not_ready(
    deployment: Deployment, host: str, described: int
) -> None:
    port = free_port()
    environ = deployment.environ | {"TOKENSVC_ADMIN_PORT": str(port), "TOKENSVC_ADMIN_HOST": host}
    with (
        started([TOKENSVC, "worker"], deployment.folder, environ, f"worker-{host}") as process,
        Client(f"http://127.0.0.1:{port}") as client,
    ):
        process.wait_until(lambda: '"running background tasks"' in process.err, "the background tasks run")
        process.wait_until(lambda: client.get("/readyz").status == 200, "it is ready")
        assert statuses(client, (*MONITORING, "/openapi.json", "/v1/status")) == [200, 200, 200, described, 404]
        [line] = [json.loads(line) for line in process.err.splitlines() if '"running background tasks"' in line]
        assert (line["admin_host"], line["admin_port"]) == (host, port)
