"""A process whose log is not read, or cannot be written, keeps serving, exits in time, and reports dropped lines."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from tests.support.deployment import Deployment, LocalIvs, free_port
from tests.support.http_client import Client
from tests.support.processes import TOKENSVC, environment, wait_until

pytestmark = pytest.mark.long

MALFORMED_REQUESTS = 600
PIPE_BYTES = 4096
"""As small as Linux makes a pipe, so that a few log lines fill it."""
RESPONDS_WITHIN_SECONDS = 10
EXITS_WITHIN_SECONDS = 20


class Unread:
    """`tokensvc serve` whose standard output and error are one pipe that is not read until `read` is called."""

    def __init__(self, deployment: Deployment, **settings: str) -> None:
        port = free_port()
        environ = deployment.environ | {"TOKENSVC_PORT": str(port)} | {f"TOKENSVC_{n}": v for n, v in settings.items()}
        self._read_end, write_end = os.pipe()
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.process = subprocess.Popen(
            [TOKENSVC, "serve"],
            cwd=deployment.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
        )
        os.close(write_end)
        self.url = f"http://127.0.0.1:{port}"
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read_all, daemon=True)

    def read(self) -> None:
        """Start reading the pipe."""
        self._reader.start()

    @property
    def text(self) -> str:
        """The text read so far."""
        return b"".join(self._chunks).decode()

    def is_ready(self) -> bool:
        return _is_ready(self.process, self.url)

    def connect(self) -> socket.socket:
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout=RESPONDS_WITHIN_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        if self._reader.is_alive():
            self._reader.join(10)
        os.close(self._read_end)

    def _read_all(self) -> None:
        while chunk := os.read(self._read_end, 65536):
            self._chunks.append(chunk)


@contextlib.contextmanager
def without_log(deployment: Deployment, redirections: str, **settings: str) -> Iterator[str]:
    """`tokensvc serve` while the block runs, started by a shell with these redirections; its URL."""
    port = free_port()
    environ = deployment.environ | {"TOKENSVC_PORT": str(port)} | {f"TOKENSVC_{n}": v for n, v in settings.items()}
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" serve {redirections}', TOKENSVC], cwd=deployment.folder, env=environ
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(process, url), "the service is ready")
        yield url
        process.send_signal(SIGTERM)
        assert process.wait(EXITS_WITHIN_SECONDS) == 0
    finally:
        process.kill()
        process.wait(10)


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, "the service exited"
    with contextlib.suppress(urllib3.exceptions.HTTPError), Client(url) as client:
        return client.get("/readyz").status == 200
    return False


@contextlib.contextmanager
def unread(deployment: Deployment, **settings: str) -> Iterator[Unread]:
    running = Unread(deployment, **settings)
    try:
        wait_until(running.is_ready, "the service is ready")
        yield running
    finally:
        running.close()


def _send_malformed(running: Unread) -> None:
    for _ in range(MALFORMED_REQUESTS):
        with running.connect() as connection:
            connection.sendall(b"GET / HTTP/9.x\r\nbad header\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_tokens_are_issued_while_the_log_is_not_read(
    deployment: Deployment, key: str, channel: Any, workers: str, tmp_path: Path
) -> None:
    with unread(deployment, WORKERS=workers) as running:
        _send_malformed(running)
        for _ in range(50):
            with Client(running.url, key) as caller:
                assert caller.request_token(channelArn=channel["arn"], viewerId="ada").status == 201
        running.process.send_signal(SIGTERM)
        assert running.process.wait(EXITS_WITHIN_SECONDS) == 0


def test_malformed_requests_do_not_flood_the_log(deployment: Deployment) -> None:
    """A single anonymous client controls their number, so not every one may write a line."""
    with unread(deployment) as running:
        running.read()
        _send_malformed(running)
        running.process.send_signal(SIGTERM)
        assert running.process.wait(EXITS_WITHIN_SECONDS) == 0
        wait_until(lambda: not running._reader.is_alive(), "all output is read")
        assert running.text.count("Invalid HTTP request") <= 2


@pytest.mark.long
def test_dropped_lines_are_counted_in_the_log_and_as_a_metric(deployment: Deployment, key: str, channel: Any) -> None:
    requests, batch = 60_000, 30
    head = f"GET /.well-known/jwks.json HTTP/1.1\r\nhost: {urlsplit(deployment.ivs.endpoint).netloc}\r\n\r\n".encode()
    with unread(deployment) as running:
        with running.connect() as connection:
            for _ in range(requests // batch):
                connection.sendall(head * batch)
                received = b""
                while received.count(b"HTTP/1.1 200 ") < batch or not received.endswith(b"}"):
                    received += connection.recv(65536)
        with Client(running.url, key) as caller:
            assert caller.request_token(channelArn=channel["arn"], viewerId="ada").status == 201
            metrics = caller.get("/metrics").body.decode()
        counted = re.search(r'^tokensvc_log_lines_dropped_total\{reason="queue_full"\} (\S+)$', metrics, re.MULTILINE)
        assert counted
        assert float(counted[1]) > 1000
        running.read()
        wait_until(lambda: "log lines dropped" in running.text, "the log reports the dropped lines")
        running.process.send_signal(SIGTERM)
        assert running.process.wait(EXITS_WITHIN_SECONDS) == 0
        wait_until(lambda: not running._reader.is_alive(), "all output is read")
        lines = [json.loads(line) for line in running.text.splitlines()]
        written = sum(line["event"] == "request" and line["path"] == "/.well-known/jwks.json" for line in lines)
        dropped = sum(line["lines"] for line in lines if line["event"] == "log lines dropped")
        assert dropped > 1000
        assert requests <= written + dropped <= requests + 5  # and a few other lines


@pytest.mark.parametrize(
    ("redirections", "workers"),
    [
        (">/dev/full 2>&1", "1"),
        ("<&- >&- 2>&-", "1"),
        pytest.param(">/dev/full 2>&1", "2", marks=pytest.mark.long),
        pytest.param("<&- >&- 2>&-", "2", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_or_a_closed_standard_error_does_not_stop_it(
    deployment: Deployment, key: str, channel: Any, redirections: str, workers: str
) -> None:
    with without_log(deployment, redirections, WORKERS=workers) as url, Client(url, key) as caller:
        for _ in range(10):
            assert caller.request_token(channelArn=channel["arn"], viewerId="ada").status == 201
        if (redirections, workers) != ("<&- >&- 2>&-", "2"):  # workers inherit /dev/null in its place

            def is_counted() -> bool:
                metrics = caller.get("/metrics").body.decode()
                return bool(re.search(r'dropped_total\{reason="write_failed"\} [1-9]', metrics))

            wait_until(is_counted, "lines that could not be written are counted", 5)


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["callers", "list"]])
def test_a_failed_start_is_not_blocked_by_an_unread_log(command: list[str], tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(4096))
    os.set_blocking(write_end, True)
    try:
        done = subprocess.run(
            [TOKENSVC, *command], cwd=tmp_path, env=environment(tmp_path), stderr=write_end, timeout=20, check=False
        )
        assert done.returncode == 2
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.long
def test_a_worker_that_cannot_start_logs_the_reason_without_a_traceback(ivs: LocalIvs, tmp_path: Path) -> None:
    deployment = Deployment(ivs, tmp_path)
    deployment.set_up()
    with deployment.serve(WORKERS="2") as service:
        deployment.store.write_bytes(b"no database " * 1000)
        os.kill(service.process.children()[0], SIGKILL)
        wait_until(lambda: '"worker cannot start"' in service.process.err, "the reason is logged", 20)
        assert "Traceback" not in service.process.err


def test_a_request_target_is_never_in_the_log(deployment: Deployment) -> None:
    pasted = "viewer-4711-pasted"
    with unread(deployment) as running:
        running.read()
        for target in ("http://[::1]:x/", "http://[", "//[::1/", "/\x00", "/%zz"):
            with running.connect() as connection:
                head = f"POST {target}{pasted} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n"
                connection.sendall(head.encode())
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while connection.recv(65536):
                        pass
        running.process.send_signal(SIGTERM)
        assert running.process.wait(EXITS_WITHIN_SECONDS) == 0
        wait_until(lambda: not running._reader.is_alive(), "all output is read")
        assert "serving" in running.text
        assert pasted not in running.text
        assert "Traceback" not in running.text
