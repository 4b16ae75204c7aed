"""A real server for a test: uvicorn in a thread, on a free port."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from tokensvc.web.open_connections import ConnectionState
from tokensvc.web.server import allow_abort

_STARTS_WITHIN_SECONDS = 60
"""Loading the whole service for the first time takes long on a slow machine."""


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve the application while the block runs; yields its base URL."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=2)
        allow_abort(config)
        server = uvicorn.Server(config)
        server.server_state = ConnectionState()  # which our protocol expects
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        ends_at = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server ended before it served"
            assert time.monotonic() < ends_at, "the server did not start in time"
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_STARTS_WITHIN_SECONDS)
            assert not thread.is_alive(), "the server did not stop"
