"""Serves an ASGI application from a thread of the tests' process, on a free port of the loopback interface."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from tokensvc.supervisor import bind_listener
from tokensvc.web.server import allow_abort, make_server

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
"""Longer than a server waits for the requests that it is handling."""
_POLL_SECONDS = 0.001


@contextmanager
def serving(app: ASGIApp, name: str, on_stop: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Serve an application while the block runs; yields its URL. Raises RuntimeError if it does not start."""
    with bind_listener("port", HOST, 0) as listener:
        server = make_server(app, on_stop, delay_seconds=0)
        allow_abort(server.config)
        thread = threading.Thread(target=server.run, args=([listener],), name=name, daemon=True)
        thread.start()
        try:
            _wait_until_started(lambda: server.started, thread)
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            on_stop()
            server.should_exit = True
            thread.join(STOP_TIMEOUT_SECONDS)


def _wait_until_started(is_started: Callable[[], bool], thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_started():
        if not thread.is_alive():
            raise RuntimeError(f"the server {thread.name} ended before it had started")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server {thread.name} did not start within {START_TIMEOUT_SECONDS:g} seconds")
        time.sleep(_POLL_SECONDS)
