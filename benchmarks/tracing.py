"""What tracing costs a token: `python -m benchmarks.tracing [--json]`.

Invariants
- The same worker with tracing off and on, in interleaved rounds; each exports to a collector that accepts everything.
- Two ways to trace 1 %: the worker starts traces of its own, or clients send a `traceparent`, of which 1 % is sampled.
  With the latter, requests have different headers, so the same requests are sent to a worker without tracing.
- A worker that exported nothing ends the benchmark.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from benchmarks import rounds, servers, wrk
from benchmarks.http import TOKEN_REQUEST
from benchmarks.report import report
from benchmarks.server_measurement import Contender, ServerMeasurement, measure_server
from benchmarks.signer import SIGNER

ROUNDS = 7
SECONDS = 3
PERCENT = 100
"""One in so many requests is sampled."""
TRACES = 1000
TARGETS = {
    "1 % of requests start a trace / tracing off": 0.95,
    "1 % of requests continue a sampled trace / tracing off": 0.93,
}


def main() -> None:
    wrk.require()
    with tempfile.TemporaryDirectory() as name, _collector() as (endpoint, count):
        folder = Path(name)
        traced = {"TOKENSVC_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        for part in ("off", "ratio", "parent"):
            (folder / part).mkdir()
        with (
            servers.deployed_service(folder / "off") as off,
            servers.deployed_service(folder / "ratio", traced | {"TOKENSVC_TRACE_RATIO": "0.01"}) as ratio,
            servers.deployed_service(folder / "parent", traced) as parent,
        ):
            contenders = {
                "off": _contender(folder, "off", off, with_parent=False),
                "ratio": _contender(folder, "ratio", ratio, with_parent=False),
                "off, with parent": _contender(folder, "off-parent", off, with_parent=True),
                "parent": _contender(folder, "parent", parent, with_parent=True),
            }
            measurements: dict[str, Callable[[], ServerMeasurement]] = {
                name: partial(measure_server, contender, SECONDS) for name, contender in contenders.items()
            }
            results = rounds.interleave(measurements, ROUNDS)
        if not count():
            raise SystemExit("the collector got nothing")
    _report(results, count())


def _report(results: dict[str, list[ServerMeasurement]], requests: int) -> None:
    rates = {name: [one.per_second for one in measured] for name, measured in results.items()}
    cpu = {name: [one.cpu_us for one in measured] for name, measured in results.items()}
    ratios = {
        "1 % of requests start a trace / tracing off": rounds.ratio(rates["ratio"], rates["off"]),
        "1 % of requests start a trace / tracing off, by server CPU": rounds.ratio(cpu["off"], cpu["ratio"]),
        "1 % of requests continue a sampled trace / tracing off": rounds.ratio(
            rates["parent"], rates["off, with parent"]
        ),
        "1 % of requests continue a sampled trace / tracing off, by server CPU": rounds.ratio(
            cpu["off, with parent"], cpu["parent"]
        ),
        "added by traces of its own, CPU microseconds per token": rounds.difference(cpu["ratio"], cpu["off"]),
        "added by traces of clients, CPU microseconds per token": rounds.difference(
            cpu["parent"], cpu["off, with parent"]
        ),
    }
    figures = {
        "signer of tokensvc": SIGNER,
        "exports to the collector": requests,
        **{f"{name}, tokens per second": median(values) for name, values in rates.items()},
        **{f"{name}, CPU microseconds per token": median(values) for name, values in cpu.items()},
    }
    report("tracing", ratios, figures, TARGETS)


def _contender(folder: Path, name: str, service: servers.RunningService, *, with_parent: bool) -> Contender:
    headers = {"content-type": "application/json", "authorization": f"Bearer {service.api_key}"}
    if with_parent:
        body = json.dumps(TOKEN_REQUEST)
        posts = [wrk.Post("/v1/tokens", body, headers | _parent(number)) for number in range(TRACES)]
        script = wrk.sequence_script(folder, name, posts)
    else:
        script = wrk.script(folder, name, TOKEN_REQUEST, headers)
    return Contender(script, f"{service.url}/v1/tokens", service.pid)


def _parent(number: int) -> dict[str, str]:
    header = wrk.trace_header(number)["traceparent"]
    return {"traceparent": header if number % PERCENT == 0 else f"{header[:-1]}0"}


@contextmanager
def _collector() -> Iterator[tuple[str, Callable[[], int]]]:
    """A collector that accepts everything; its URL, and a function that counts the exports that it got."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal count
            self.rfile.read(int(self.headers["content-length"]))
            count += 1
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", lambda: count
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
