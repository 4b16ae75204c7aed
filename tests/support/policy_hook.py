"""An operator's policy hook over real HTTP, on a loopback port."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """Responds as a test decides, and records what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.response: Callable[[dict[str, Any]], object] = lambda _asked: {"allow": True}
        """The JSON of the response, or its bytes."""
        self.location = ""
        self.response_headers: dict[str, str] = {}
        self.goes_on = threading.Event()
        """Unset: no response yet."""
        self.goes_on.set()
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def running_hook() -> Iterator[Hook]:
    """A hook that is served until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with hook.lock:
                hook.bodies.append(body)
                hook.headers.append({name.lower(): value for name, value in self.headers.items()})
                hook.running += 1
                hook.most_running = max(hook.most_running, hook.running)
            hook.goes_on.wait(10)
            response = hook.response(json.loads(body))
            content = response if isinstance(response, bytes) else json.dumps(response).encode()
            with hook.lock:
                hook.running -= 1
            self.send_response(302 if hook.location else hook.status)
            if hook.location:
                self.send_header("Location", hook.location)
            for name, value in hook.response_headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """A client that went away is not an error."""

    server = Server(("127.0.0.1", 0), Handler)
    hook = Hook(f"http://127.0.0.1:{server.server_port}/decide")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
