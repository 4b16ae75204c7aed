"""Traces as a real collector receives them: spans and their parents, no secrets, and no harm from a collector that
fails or hangs."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.deployment import Deployment, LocalIvs, Service
from tests.support.http_client import Client, Response, fetch
from tests.support.otlp_collector import Collector, running_collector
from tests.support.processes import wait_until

pytestmark = pytest.mark.long

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
VIEWER = "viewer-4711-of-the-test"


class Traced(NamedTuple):
    """A deployment of these tests alone, whose service rotates its keys; an API key, and a channel."""

    deployment: Deployment
    key: str
    channel: str


@pytest.fixture(scope="module")
def traced(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    deployment = Deployment(ivs, tmp_path_factory.mktemp("tracing"))
    key = deployment.set_up(
        "--all-channels", "--allow-anonymous-viewers", "--scope", "tokens:issue", "--scope", "keys:read"
    )
    return Traced(deployment, key, deployment.new_channel()["arn"])


@pytest.fixture
def collector(traced: Traced) -> Iterator[Collector]:
    environ = dict(traced.deployment.environ)
    with running_collector() as collector:
        traced.deployment.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        yield collector
    traced.deployment.environ.clear()
    traced.deployment.environ.update(environ)


class Trace:
    """A trace that a client has started."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.header = f"00-{self.trace_id}-{self.span_id}-0{int(sampled)}"


def ask(
    service: Service, key: str, method: str, path: str, body: object = None, trace: Trace | None = None
) -> Response:
    headers = {"traceparent": trace.header} if trace is not None else {}
    with service.client(key) as client:
        return client.request(method, path, json.dumps(body) if body is not None else None, headers)


def log_lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.process.err.splitlines() if line.startswith("{")]


def metric(service: Service, name: str) -> float:
    lines = fetch(f"{service.url}/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_sampled_request_is_a_span_of_its_callers_trace_and_what_it_waits_for_is_within_it(
    traced: Traced, collector: Collector
) -> None:
    deployment, key, channel = traced
    first, quick, listed, refused, unsampled = Trace(), Trace(), Trace(), Trace(), Trace(sampled=False)
    asked = {"channelArn": channel, "viewerId": VIEWER}
    with deployment.serve(TRACING="true") as service:
        tokens = [
            ask(service, key, "POST", "/v1/tokens", asked, trace).json["token"]
            for trace in (first, quick, None, unsampled)
        ]
        wait_until(lambda: metric(service, "tokensvc_http_request_duration_seconds_count") >= 1, "it is counted")
        assert ask(service, key, "GET", "/v1/keys", trace=listed).status == 200
        assert ask(service, "tsk_000000000000_wrong", "POST", "/v1/tokens", asked, refused).status == 401
        traces = (first, quick, listed, refused)
        wait_until(lambda: {t.trace_id for t in traces} <= {s.trace_id for s in collector.spans}, "all arrive")
        exposition = _exposition(service)
        expected = {t.trace_id for t in (*traces, unsampled)}
        wait_until(lambda: expected <= {line.get("trace_id") for line in log_lines(service)}, "all are logged")
        lines = log_lines(service)
    issued = [span for span in collector.named("POST /v1/tokens") if span.trace_id in (first.trace_id, quick.trace_id)]
    assert [(s.kind, s.is_error) for s in issued] == [("SERVER", False)] * 2
    assert {(s.trace_id, s.parent_id) for s in issued} == {(t.trace_id, t.span_id) for t in (first, quick)}
    described = issued[0].attributes
    assert described["http.request.method"] == "POST"
    assert described["http.route"] == "/v1/tokens"
    assert described["http.response.status_code"] == 201
    assert described["tokensvc.caller"] == "first"
    assert described["tokensvc.code"] == "issued"
    assert issued[0].resource["service.name"] == "tokensvc"
    assert all(0 < span.seconds < 30 for span in issued)
    [keys] = collector.named("GET /v1/keys")
    stored = collector.children(keys)
    assert {(s.name, s.kind, s.attributes["db.system.name"]) for s in stored} == {("store read", "CLIENT", "sqlite")}
    assert all(span.seconds <= keys.seconds for span in stored)
    [unauthenticated] = [span for span in collector.spans if span.trace_id == refused.trace_id]
    assert unauthenticated.attributes["http.response.status_code"] == 401
    assert not unauthenticated.is_error, "the client's error is not the server's"
    known = {first.trace_id, quick.trace_id, listed.trace_id, refused.trace_id}
    assert {span.trace_id for span in collector.spans} == known, "nothing else starts a trace"
    assert quick.trace_id in exposition
    assert exposition.rstrip().endswith("# EOF")
    _assert_lines_have_ids(lines, unsampled, refused, known)
    secret = [key, key.split("_", 2)[2], VIEWER, channel, *tokens, deployment.environ["TOKENSVC_PASSPHRASE"], "wrong"]
    exported = b"".join(collector.bodies)
    assert not [text for text in secret if text.encode() in exported]


def _exposition(service: Service) -> str:
    with service.client("") as client:
        response = client.request("GET", "/metrics", headers={"accept": OPENMETRICS})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    return response.body.decode()


def _assert_lines_have_ids(lines: list[dict[str, Any]], unsampled: Trace, refused: Trace, known: set[str]) -> None:
    requests = [line for line in lines if line["event"] == "request"]
    assert known | {unsampled.trace_id} == {line["trace_id"] for line in requests if "trace_id" in line}
    assert [line for line in requests if "trace_id" not in line], "a request without a trace has none"
    [failed] = [line for line in lines if line["event"] == "authentication failed"]
    assert failed["trace_id"] == refused.trace_id
    assert failed["request_id"] in {line["request_id"] for line in requests}


def test_a_ratio_starts_traces_of_requests_and_background_tasks(traced: Traced, collector: Collector) -> None:
    deployment, key, channel = traced
    with deployment.serve(TRACING="true", TRACE_RATIO="1") as service:
        for _ in range(2):
            assert ask(service, key, "POST", "/v1/tokens", {"channelArn": channel}).status == 201
        wait_until(lambda: len(collector.named("POST /v1/tokens")) == 2, "both requests are exported")
        wait_until(lambda: bool(collector.named("ivs/ListPlaybackKeyPairs")), "a call of IVS is exported", 40)
    roots = {span.span_id: span for span in collector.spans if not span.parent_id}
    assert {"POST /v1/tokens", "task refresh", "task rotation", "task heartbeat"} <= {s.name for s in roots.values()}
    [listing, *_] = collector.named("ivs/ListPlaybackKeyPairs")
    assert roots[listing.parent_id].name == "task rotation"
    assert listing.attributes["rpc.method"] == "ListPlaybackKeyPairs"
    [store, *_] = [s for s in collector.named("store read") if roots[s.parent_id].name == "task refresh"]
    assert store.trace_id == roots[store.parent_id].trace_id


@pytest.mark.parametrize("failure", ["absent", "rejecting", "hanging"])
def test_a_collector_that_fails_costs_spans_and_nothing_else(
    traced: Traced, collector: Collector, failure: str
) -> None:
    deployment, key, channel = traced
    if failure == "absent":
        deployment.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://user:secret-of-the-url@127.0.0.1:9"
    elif failure == "rejecting":
        collector.status = 400
    else:
        collector.released.clear()
    deployment.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    with deployment.serve(TRACING="true", TRACE_RATIO="1", SHUTDOWN_DELAY_SECONDS="0") as service:
        for _ in range(20):
            assert ask(service, key, "POST", "/v1/tokens", {"channelArn": channel}).status == 201
        if failure != "hanging":
            dropped = 'tokensvc_trace_spans_dropped_total{reason="export_failed"}'
            wait_until(lambda: metric(service, dropped) > 0, "the spans are counted")
            service.process.wait_until(lambda: "traces not exported" in service.process.err, "it is logged")
            errors = {line["error"] for line in log_lines(service) if line["event"] == "traces not exported"}
            assert errors <= {"absent": {"ConnectionError", "timeout"}, "rejecting": {"status 400"}}[failure]
        assert service.process.stop() == 0
    assert "secret-of-the-url" not in service.process.err
    assert not [line for line in log_lines(service) if line["level"] in ("error", "critical")]


def test_two_workers_export_their_traces_and_stop_in_time(traced: Traced, collector: Collector) -> None:
    deployment, key, channel = traced
    traces, clients = list[Trace](), dict[str, Client]()
    with deployment.serve(TRACING="true", WORKERS="2") as service, contextlib.ExitStack() as opened:
        while len(clients) < 2:
            client = opened.enter_context(service.client(key))
            clients[client.get("/livez").worker] = client
        for client in clients.values():
            for _ in range(10):
                traces.append(Trace())
                headers, body = {"traceparent": traces[-1].header}, json.dumps({"channelArn": channel})
                assert client.request("POST", "/v1/tokens", body, headers).status == 201
    assert {t.trace_id for t in traces} <= {s.trace_id for s in collector.spans}, "also what was queued at the end"
    assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2
