"""A real Redis of a test's own."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import free_port

PASSWORD = "correct-horse"


class RedisServer:
    """A redis-server that a test can pause and kill."""

    def __init__(self, port: int, directory: Path) -> None:
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        self._port = port
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
        self._process = subprocess.Popen(
            [*command, "--dir", str(directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ends_at = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < ends_at, "redis-server did not start in time"
            time.sleep(0.01)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it without closing its connections: it accepts and never answers."""
        self._process.send_signal(signal.SIGSTOP)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


@contextlib.contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    """A Redis on a free port while the block runs. Skips the test where there is no redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    server = RedisServer(free_port(), directory)
    try:
        yield server
    finally:
        server.kill()
