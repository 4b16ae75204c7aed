"""An HTTP server with prepared responses, and a control plane that calls it through boto3."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tokensvc.aws.ivs import AwsControlPlane


class Stub:
    """The server's prepared response, and the requests and results that were seen."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.headers: dict[str, str] = {}
        self.date: str | None = None
        """A date other than now."""
        self.content_length: int | None = None
        """A Content-Length other than the body's, for a truncated response."""
        self.paths: list[str] = []
        self.observed: list[tuple[str, str]] = []


@contextlib.contextmanager
def stub_server() -> Iterator[tuple[Stub, AwsControlPlane]]:
    """A running server, and a control plane that finds it through boto3's own variables."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stub.paths.append(self.path)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(stub.status)
            for name, value in {"content-type": "application/json", **stub.headers}.items():
                self.send_header(name, value)
            self.send_header(
                "content-length", str(len(stub.body) if stub.content_length is None else stub.content_length)
            )
            self.end_headers()
            self.wfile.write(stub.body)
            self.close_connection = True

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(timestamp) if stub.date is None else stub.date

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield stub, make_control_plane(server.server_port, stub)
        finally:
            server.shutdown()
            thread.join()


def make_control_plane(port: int, stub: Stub) -> AwsControlPlane:
    """A control plane; boto3 finds the endpoint and credentials in the environment."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="hunter2",
        AWS_ENDPOINT_URL_IVS=f"http://127.0.0.1:{port}",
        AWS_EC2_METADATA_DISABLED="true",
    )
    return AwsControlPlane("local", lambda operation, code, _seconds: stub.observed.append((operation, code)))


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener.getsockname()[1]
