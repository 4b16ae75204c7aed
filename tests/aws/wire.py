"""A server that answers HTTP as it is told, and a control plane pointed at it: what stands behind boto3 in tests."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tokensvc.aws.ivs import AwsControlPlane


class Told:
    """What the server says, and what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.headers: dict[str, str] = {}
        self.date: str | None = None
        """Another date than now."""
        self.declared: int | None = None
        """Another content-length than the body's, for an answer that is cut off."""
        self.paths: list[str] = []
        self.observed: list[tuple[str, str]] = []


@contextlib.contextmanager
def told() -> Iterator[tuple[Told, AwsControlPlane]]:
    """A server and boto3's way to it, through boto3's own variables."""
    what = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            what.paths.append(self.path)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(what.status)
            for name, value in {"content-type": "application/json", **what.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(what.body) if what.declared is None else what.declared))
            self.end_headers()
            self.wfile.write(what.body)
            self.close_connection = True

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(timestamp) if what.date is None else what.date

        def log_message(self, *_args: object) -> None:
            """A test's server says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield what, control_plane(server.server_port, what)
        finally:
            server.shutdown()
            thread.join()


def control_plane(port: int, what: Told) -> AwsControlPlane:
    """A control plane whose boto3 finds its endpoint and credentials in the environment."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="hunter2",
        AWS_ENDPOINT_URL_IVS=f"http://127.0.0.1:{port}",
        AWS_EC2_METADATA_DISABLED="true",
    )
    return AwsControlPlane("local", lambda operation, code: what.observed.append((operation, code)))


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def hanging() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener.getsockname()[1]
