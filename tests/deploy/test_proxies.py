"""The configurations of deploy/proxies, in real nginx, HAProxy and Caddy, with TLS, in front of two machines."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.deploy.facts import DEPLOY
from tests.deploy.running_proxies import Proxy, replaced, running_proxy
from tests.docs.code_blocks import code_blocks
from tests.support.deployment import Deployment, LocalIvs, free_port, local_ivs
from tests.support.http_client import load
from tests.support.processes import Process, wait_until
from tokensvc.web.protocol import KEEP_ALIVE_SECONDS
from tokensvc.web.request_head import ENCODED_BODY_MAX_BYTES

PROXIES = ("nginx", "haproxy", "caddy")
FILES = {"nginx": "tokensvc.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
PAGE = "docs/how-to/behind-a-proxy.md"
NAME = "tokens.example.com"
OTHER_ADDRESS = "127.0.0.2"
INTERNAL = ("/metrics", "/v1/status", "/v1/keys", "/v1/audit", "/v1/keys/rotate", "/livez", "/v1/tokens/explain")


def configuration(name: str) -> str:
    return (DEPLOY / "proxies" / FILES[name]).read_text("utf-8")


@pytest.mark.parametrize("name", PROXIES)
def test_the_guide_shows_the_same_configuration(name: str) -> None:
    blocks = code_blocks(DEPLOY.parent / PAGE, PAGE)
    assert [block.text for block in blocks if block.file == FILES[name]] == [configuration(name)]


def test_each_proxy_closes_idle_connections_before_the_service_does() -> None:
    assert KEEP_ALIVE_SECONDS > 60
    for name, line in (
        ("nginx", "keepalive_timeout 60s;"),
        ("haproxy", "pool-purge-delay 60s"),
        ("caddy", "keepalive 60s"),
    ):
        assert line in configuration(name)


def test_each_proxy_passes_the_bodies_that_the_service_accepts() -> None:
    assert ENCODED_BODY_MAX_BYTES == 2 * 1024 * 1024
    assert "client_max_body_size 2m;" in configuration("nginx")
    assert "max_size 2MiB" in configuration("caddy")


@contextlib.contextmanager
def proxied(name: str, machines: list[int], folder: Path) -> Iterator[Proxy]:
    """The proxy with the configuration of deploy/proxies, except for ports and the number of machines."""
    port = free_port()
    text = _for_machines(name, configuration(name), machines, port)
    with running_proxy(name, folder, FILES[name], text, port) as proxy:
        yield proxy


def _for_machines(name: str, text: str, machines: list[int], port: int) -> str:
    if name == "nginx":
        [line] = [line for line in text.splitlines() if "server 127.0.0.1:8080" in line]
        text = replaced(text, line, "\n".join(line.replace("8080", str(machine)) for machine in machines))
        return replaced(replaced(text, "listen 443 ", f"listen {port} "), NAME, "localhost")
    if name == "haproxy":
        [line] = [line for line in text.splitlines() if "server machine1" in line]
        lines = [line.replace("8080", str(m)).replace("machine1", f"machine{n}") for n, m in enumerate(machines, 1)]
        return replaced(replaced(text, line, "\n".join(lines)), "bind :443 ", f"bind :{port} ")
    options = f"{{\n\tadmin off\n\thttp_port {free_port()}\n\thttps_port {port}\n"
    text = options + text.removeprefix("{\n")
    text = replaced(
        text, "reverse_proxy 127.0.0.1:8080", "reverse_proxy " + " ".join(f"127.0.0.1:{m}" for m in machines)
    )
    return replaced(text, NAME, "localhost")


class _Machine:
    """One machine with `tokensvc serve`, which can be restarted on its port."""

    def __init__(self, deployment: Deployment, stack: contextlib.ExitStack) -> None:
        self._deployment, self._stack = deployment, stack
        self.port = free_port()
        self.process: Process | None = None

    def start(self) -> None:
        settings = {
            "PORT": str(self.port),
            "WORKERS": "2",
            "SHUTDOWN_DELAY_SECONDS": "5",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        service = self._stack.enter_context(self._deployment.serve(**settings))
        self.process = service.process
        with service.client() as client:
            wait_until(lambda: client.get("/readyz").status == 200, "the machine is ready")

    def stop(self) -> int:
        assert self.process is not None
        return self.process.stop()


class _Fleet(NamedTuple):
    deployment: Deployment
    key: str
    channel: str
    machines: list[_Machine]


@pytest.fixture(scope="module")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Fleet]:
    deployment = Deployment(ivs, tmp_path_factory.mktemp("deployment"))
    key = deployment.set_up("--all-channels")
    channel = str(deployment.new_channel(name="proxied")["arn"])
    with contextlib.ExitStack() as stack:
        machines = [_Machine(deployment, stack) for _ in range(2)]
        for machine in machines:
            machine.start()
        yield _Fleet(deployment, key, channel, machines)


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, fleet: _Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(request.param)
    with proxied(request.param, [machine.port for machine in fleet.machines], folder) as running:
        yield running


@pytest.mark.long
def test_tokens_are_issued_over_tls(proxy: Proxy, fleet: _Fleet) -> None:
    with proxy.client(fleet.key) as client:
        assert client.request_token(channelArn=fleet.channel, viewerId="viewer").status == 201
        assert client.get("/readyz").status == 200


@pytest.mark.long
def test_internal_routes_are_not_exposed(proxy: Proxy, fleet: _Fleet) -> None:
    with proxy.client(fleet.key) as client:
        assert {path: client.get(path).status for path in INTERNAL} == dict.fromkeys(INTERNAL, 404)


@pytest.mark.long
def test_tls_before_1_2_is_refused(proxy: Proxy) -> None:
    assert _handshake(proxy, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert _handshake(proxy, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)), pytest.warns(DeprecationWarning, match="TLSv1_1"):
        _handshake(proxy, ssl.TLSVersion.TLSv1_1)


def _handshake(proxy: Proxy, version: ssl.TLSVersion) -> str | None:
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or the client itself would refuse the old versions
    context.minimum_version = context.maximum_version = version
    port = int(proxy.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.version()


@pytest.mark.long
def test_the_log_has_the_clients_address_whatever_the_client_claims(proxy: Proxy, fleet: _Fleet) -> None:
    with proxy.client(fleet.key, source_address=(OTHER_ADDRESS, 0)) as client:
        response = client.request(
            "POST",
            "/v1/tokens",
            json.dumps({"channelArn": fleet.channel, "viewerId": "v"}),
            {"X-Forwarded-For": "192.0.2.1"},
        )
        request_id = response.headers["x-request-id"]
    line = wait_until(lambda: _logged(fleet, request_id), "the request is logged")
    assert json.loads(line)["client"] == OTHER_ADDRESS


def _logged(fleet: _Fleet, request_id: str) -> str:
    logs = [machine.process.err for machine in fleet.machines if machine.process is not None]
    return next((line for log in logs for line in log.splitlines() if request_id in line), "")


@pytest.mark.long
def test_a_body_that_is_too_long_is_rejected(proxy: Proxy, fleet: _Fleet) -> None:
    """Caddy sends a body on while it arrives, and does not pass on a response that comes before the body has ended."""
    for _ in range(4):
        with proxy.client(fleet.key) as client:
            response = client.request("POST", "/v1/tokens", b" " * (ENCODED_BODY_MAX_BYTES + 1))
            assert response.status in ((413, 502) if proxy.name == "caddy" else (413,))
    with proxy.client(fleet.key) as client:  # and takes no machine out
        assert client.request_token(channelArn=fleet.channel, viewerId="viewer").status == 201


@pytest.mark.long
def test_a_rolling_restart_under_load_fails_no_request(proxy: Proxy, fleet: _Fleet) -> None:
    with load(
        proxy.url, fleet.key, fleet.channel, callers=3, pause_seconds=0.03, ca_certs=str(proxy.certificate)
    ) as running:
        for machine in fleet.machines:
            assert machine.stop() == 0
            machine.start()
            time.sleep(3)  # until the proxy has noticed: without it, no machine would be left
    assert len(running.requests) > 100
    failed = [request for request in running.requests if request.status != 201]
    assert failed == []


def _read_request(connection: socket.socket) -> str:
    """A request with its body; "" if none came. Data that is not read would reset the connection when it is closed."""
    with connection.makefile("rb") as file:
        head = list(iter(lambda: file.readline().decode().strip(), ""))
        lengths = [int(line.partition(":")[2]) for line in head if line.lower().startswith("content-length:")]
        file.read(sum(lengths))
    return "\n".join(head)


class _Rude:
    """A machine that reads each request, counts it, and closes the connection without a response."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            received = _read_request(connection)
            if received.startswith("GET /readyz"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            elif received:
                self.paths.append(received.split()[1])

    def close(self) -> None:
        self._listener.close()


@pytest.mark.long
@pytest.mark.parametrize("name", PROXIES)
def test_a_revocation_that_a_machine_has_got_is_never_sent_again(name: str, tmp_path: Path) -> None:
    machines = [_Rude(), _Rude()]
    try:
        with proxied(name, [machine.port for machine in machines], tmp_path) as proxy, proxy.client() as client:
            assert client.request("POST", "/v1/revocations", b"{}").status in (502, 503)
            assert [path for machine in machines for path in machine.paths] == ["/v1/revocations"]
    finally:
        for machine in machines:
            machine.close()


@pytest.mark.long
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_token_request_that_a_machine_drops_is_sent_to_another_one(name: str, fleet: _Fleet, tmp_path: Path) -> None:
    rude = _Rude()
    with proxied(name, [rude.port, fleet.machines[0].port], tmp_path) as proxy, proxy.client(fleet.key) as client:
        statuses = {client.request_token(channelArn=fleet.channel, viewerId="viewer").status for _ in range(8)}
    rude.close()
    assert "/v1/tokens" in rude.paths
    assert statuses == {201}
