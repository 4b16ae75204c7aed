"""An OTLP/HTTP collector: an HTTP server that decodes what exporters send, and can fail or hang."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class CollectedSpan(NamedTuple):
    """A span as the collector received it; ids in hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    seconds: float
    attributes: dict[str, Any]
    is_error: bool
    resource: dict[str, Any]


class Collector:
    """What arrived, and how the collector responds."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.spans: list[CollectedSpan] = []
        self.status = 200
        self.released = threading.Event()
        """While it is not set, requests hang."""
        self.released.set()
        self.requests = 0
        self.url = ""

    def named(self, name: str) -> list[CollectedSpan]:
        """The spans with this name."""
        return [span for span in self.spans if span.name == name]

    def children(self, parent: CollectedSpan) -> list[CollectedSpan]:
        """The spans whose parent this is."""
        return [s for s in self.spans if (s.trace_id, s.parent_id) == (parent.trace_id, parent.span_id)]

    def receive(self, body: bytes) -> None:
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            about = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_span(span, about) for span in scope.spans]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _span(span: Any, resource: dict[str, Any]) -> CollectedSpan:
    kinds = type(span).SpanKind
    return CollectedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        kinds.Name(span.kind).removeprefix("SPAN_KIND_"),
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        _attributes(span.attributes),
        span.status.code == span.status.STATUS_CODE_ERROR,
        resource,
    )


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a free port while the block runs."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests += 1
            collector.released.wait(30)
            if collector.status == 200 and self.path == "/v1/traces":
                collector.receive(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            with contextlib.suppress(OSError):  # the client may have gone
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        collector.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
