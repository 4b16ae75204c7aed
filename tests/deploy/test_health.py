"""`tokensvc health`: what a container's health check learns, and how fast."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import SIGSTOP
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.support.deployment import Deployment, LocalIvs, free_port, local_ivs
from tests.support.http_client import Client
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.postgres import unavailable_reason as postgres_unavailable_reason
from tests.support.processes import TOKENSVC, CommandResult, Process, environment, run, started, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if reason := postgres_unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


def health(folder: Path, variables: Mapping[str, str], *options: str, code: int | None = 0) -> CommandResult:
    """Run the command in this process, with these TOKENSVC_ variables."""
    settings = {name.removeprefix("TOKENSVC_"): value for name, value in variables.items()}
    result = Terminal(folder, "http://127.0.0.1:9", "nobody").run("health", *options, **settings)
    assert code in (None, result.code), f"exited with {result.code}:\n{result.out}\n{result.err}"
    return result


@contextlib.contextmanager
def answering(*parts: bytes, pause_seconds: float = 0.0) -> Iterator[str]:
    """A server that sends these bytes to every client that connects, with pauses in between, whatever the request."""

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            for part in parts:
                connection.sendall(part)
                stopped.wait(pause_seconds)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                answer(listener.accept()[0])

    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_it_asks_the_listener_that_the_settings_name(ivs: LocalIvs, tmp_path: Path) -> None:
    deployment, public, admin = Deployment(ivs, tmp_path), free_port(), free_port()
    deployment.run("db", "upgrade")
    settings = {"PORT": str(public), "HOST": "0.0.0.0"}
    with deployment.serve(**settings, ADMIN_PORT=str(admin), ADMIN_HOST="::"):
        variables = {f"TOKENSVC_{name}": value for name, value in settings.items()}
        not_ready = health(tmp_path, variables, code=1)
        url = f"http://127.0.0.1:{public}"
        assert not_ready.err.startswith(f"tokensvc: {url}/readyz: 503 no_signing_key: no key exists yet;")
        assert not_ready.out == ""
        assert health(tmp_path, variables, "--live").out == f"{url}/livez: alive\n"
        deployment.run("keys", "generate")
        on_admin = variables | {"TOKENSVC_ADMIN_PORT": str(admin), "TOKENSVC_ADMIN_HOST": "::"}
        wait_until(lambda: not health(tmp_path, on_admin, code=None).code, "it is ready")
        ready = health(tmp_path, on_admin, "--json").json
        assert (ready["url"], ready["status"]) == (f"http://[::1]:{admin}/readyz", "ready")
        assert health(tmp_path, {"TOKENSVC_PORT": "1"}, "--url", f"{url}/").out.startswith(f"{url}/readyz: ready\n")


def test_a_secret_that_is_gone_does_not_make_a_running_service_unhealthy(tmp_path: Path) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", b'{"status":"ready","warnings":["one","two"]}') as url:
        variables = {
            "TOKENSVC_PORT": url.rpartition(":")[2],
            "TOKENSVC_PASSPHRASE": "",
            "TOKENSVC_PREVIOUS_PASSPHRASE_FILE": "/nowhere",
            "TOKENSVC_DATABASE_URL": "not a database",
        }
        assert health(tmp_path, variables).out == f"{url}/readyz: ready\nwarning: one\nwarning: two\n"


def test_the_settings_file_names_the_listener_too(tmp_path: Path) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", b'{"status":"ready","warnings":[]}') as url:
        file = tmp_path / "tokensvc.toml"
        file.write_text(
            f'admin_port = {url.rpartition(":")[2]}\nadmin_host = "0.0.0.0"\npassphrase_file = "/nowhere"\n'
        )
        file.chmod(0o600)
        assert health(tmp_path, {"TOKENSVC_CONFIG": str(file)}).out == f"{url}/readyz: ready\n"
        command = [TOKENSVC, "--config", str(file), "health"]
        assert run(command, tmp_path, environment(tmp_path / "home")).out == f"{url}/readyz: ready\n"


def test_the_settings_file_may_be_a_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    port = free_port()
    os.write(writing, f"admin_port = {port}\nadmin_host = '::1'\n".encode())
    os.close(writing)
    refused = health(tmp_path, {"TOKENSVC_CONFIG": f"/dev/fd/{reading}"}, code=1)
    os.close(reading)
    assert f"http://[::1]:{port}/readyz" in refused.err


@pytest.mark.long
@pytest.mark.postgres
def test_a_database_that_is_away_is_reported_by_serve_as_a_warning_and_by_worker_as_not_ready(
    ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path
) -> None:
    database = postgres.fresh()
    deployment, port, worker_port = Deployment(ivs, tmp_path, postgres.url(database)), free_port(), free_port()
    deployment.set_up()
    on_worker = {"TOKENSVC_ADMIN_PORT": str(worker_port)}
    environ = deployment.environ | on_worker
    with (
        deployment.serve(PORT=str(port), BACKGROUND_TASKS="false"),
        started([TOKENSVC, "worker"], tmp_path, environ, "worker") as worker,
        Client(f"http://127.0.0.1:{worker_port}") as client,
    ):
        worker.wait_until(lambda: '"running background tasks"' in worker.err, "the background tasks run")
        wait_until(lambda: client.get("/readyz").status == 200, "the worker is ready")
        assert health(tmp_path, {"TOKENSVC_PORT": str(port)}).code == 0
        postgres.stop()
        try:
            away = wait_until(
                lambda: _text_with(tmp_path, worker_port, 1, "store_unavailable"), "the worker says so", 15
            )
            assert "503 store_unavailable: the store has not responded for" in away
            warned = wait_until(lambda: _text_with(tmp_path, port, 0, "warning: "), "the service warns")
            assert "warning: the store has not responded for" in warned
            assert health(tmp_path, on_worker, "--live").code == 0
        finally:
            postgres.start()
        wait_until(lambda: not health(tmp_path, on_worker, code=None).code, "it is back")


def _text_with(folder: Path, port: int, code: int, words: str) -> str:
    """What the command prints, if it has these words and the exit code."""
    result = health(folder, {"TOKENSVC_PORT": str(port)}, code=None)
    text = result.out + result.err
    return text if result.code == code and words in text else ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "the response, with status 302, is not from tokensvc"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "the response, with status 200, is not from tokensvc"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"status":"alive"}', "the response, with status 200, is not from tokensvc"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 60_000, "the response, with status 200, is not from tokensvc"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "BadStatusLine"),
        (b"", "RemoteDisconnected"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "LineTooLong"),
        (b'HTTP/1.1 503 \r\n\r\n{"code":"no\\u001b[31m","detail":3}', "503 no\\x1b[31m: 3"),
    ],
    ids=["redirect", "html", "other probe", "nested", "ssh", "nothing", "long header", "escape"],
)
def test_whatever_responds_the_result_is_one_line_and_the_exit_code_1(tmp_path: Path, answer: bytes, said: str) -> None:
    with answering(answer) as url:
        result = health(tmp_path, {}, "--url", url, code=1)
    assert result.err == f"tokensvc: {url}/readyz: {said}\n"


def test_a_response_that_does_not_end_is_given_up_in_time(tmp_path: Path) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n", *[b"X-More: x\r\n"] * 200, pause_seconds=0.1) as url:
        started_at = time.monotonic()
        result = health(tmp_path, {}, "--url", url, "--timeout", "0.5", "--json", code=1)
        assert time.monotonic() - started_at < 5
    assert result.error == {"code": "service_unreachable", "message": f"{url}/readyz: no response within 0.5 s"}


@pytest.mark.long
def test_a_suspended_service_does_not_respond_in_time(ivs: LocalIvs, tmp_path: Path) -> None:
    deployment, port = Deployment(ivs, tmp_path), free_port()
    deployment.run("db", "upgrade")
    environ = deployment.environ | {"TOKENSVC_PORT": str(port)}
    process = Process([TOKENSVC, "serve"], tmp_path, environ, "suspended")
    try:
        process.wait_until(lambda: '"event": "serving"' in process.err, "it serves")
        process.send(SIGSTOP)
        result = health(tmp_path, {"TOKENSVC_PORT": str(port)}, "--timeout", "0.3", code=1)
    finally:
        process.kill()
    assert result.err.endswith("no response within 0.3 s\n")


@pytest.mark.parametrize(
    ("variables", "options", "said"),
    [
        ({"TOKENSVC_PORT": "0"}, (), "TOKENSVC_PORT: is 0, so the port is not known here; pass --url"),
        ({"TOKENSVC_ADMIN_PORT": "0"}, (), "TOKENSVC_ADMIN_PORT: is 0, so the port is not known here; pass --url"),
        ({"TOKENSVC_PORT": "x"}, (), "TOKENSVC_PORT: must be an integer"),
        ({}, ("--timeout", "0"), "must be at least 0.1s"),
        ({}, ("--url", "ftp://x"), "--url: must be the service's URL"),
        ({}, ("--url", "http://user:password@x"), "--url: must be the service's URL"),
        ({}, ("--url", "http://a..b"), "--url: must name a host whose parts"),
        ({}, ("--url", f"https://{'a' * 64}.example"), "--url: must name a host whose parts"),
    ],
)
def test_what_cannot_be_asked_is_wrong_use(
    tmp_path: Path, variables: dict[str, str], options: tuple[str, ...], said: str
) -> None:
    result = health(tmp_path, variables, *options, code=2)
    assert said in result.err
    assert "password" not in result.err


def test_it_loads_neither_an_http_client_nor_what_serves() -> None:
    program = "import sys, tokensvc.cli.main, tokensvc.cli.health; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy: set[Any] = {
        "httpx",
        "urllib3",
        "boto3",
        "botocore",
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "cryptography",
        "awscrt",
    }
    assert not loaded & heavy, os.linesep.join(sorted(loaded & heavy))
