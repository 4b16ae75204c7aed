"""Which requests and tasks are traced, whatever clients send, and what spans contain."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.support.clocks import ManualClock
from tokensvc.container.tracing import CONTINUED_PER_SECOND, Tracing
from tokensvc.log import structlog
from tokensvc.metrics import HandledRequest
from tokensvc.runner import IDLE
from tokensvc.storage.engine import Transaction

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-00"


class Exported(SpanExporter):
    """Keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


class Traced:
    """Tracing with a clock and a die of the test's own."""

    def __init__(self, ratio: float = 0.0) -> None:
        self.clock, self.exported = ManualClock(), Exported()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exported))
        chance = random.Random(7).random
        self.tracing = Tracing(
            provider, ratio=ratio, store_system="sqlite", monotonic=self.clock.monotonic, chance=chance
        )

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.exported.spans]

    def span(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.exported.spans if span.name == name]
        return span


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "scheme": "https",
        "http_version": "1.1",
        "headers": [(b"host", b"tokens.example"), *headers],
    }


def with_parent(value: str | bytes) -> dict[str, Any]:
    return scope((b"traceparent", value.encode("latin-1") if isinstance(value, str) else value))


def request(status: int = 201, code: str = "issued", route: str = "/v1/tokens", method: str = "POST") -> HandledRequest:
    return HandledRequest(0, method, route, status, code, "shop", "192.0.2.7", "id-1", 0.002, "", False)


@pytest.fixture
def traced() -> Traced:
    return Traced()


def test_a_sampled_parent_is_continued_by_the_same_trace(traced: Traced) -> None:
    assert traced.tracing.record(with_parent(SAMPLED), request()) == (TRACE_ID, True)
    span = traced.span("POST /v1/tokens")
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time == 2_000_000


def test_an_unsampled_parent_is_named_in_the_log_and_not_exported_even_at_ratio_1() -> None:
    traced = Traced(ratio=1)
    assert traced.tracing.record(with_parent(UNSAMPLED), request()) == (TRACE_ID, False)
    with traced.tracing.start(with_parent(UNSAMPLED)) as span:
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE_ID
        assert span.end(request()) == (TRACE_ID, False)
    assert traced.names == []


def test_a_request_without_a_parent_starts_no_trace_by_itself(traced: Traced) -> None:
    for _ in range(1000):
        assert traced.tracing.record(scope(), request()) == ("", False)
        with traced.tracing.start(scope()) as span:
            assert traced.tracing.trace_id(scope()) == ""
            assert "trace_id" not in structlog.contextvars.get_contextvars()
            assert span.end(request()) == ("", False)
    assert traced.names == []


def test_the_ratio_is_the_fraction_of_requests_that_start_a_trace() -> None:
    traced = Traced(ratio=0.01)
    results = [traced.tracing.record(scope(), request()) for _ in range(10_000)]
    assert 70 < sum(sampled for _, sampled in results) < 130
    assert len(traced.names) == sum(sampled for _, sampled in results)
    ids = {trace_id for trace_id, sampled in results if sampled}
    assert len(ids) == len(traced.names), "each is a trace of its own"


def test_clients_cannot_have_more_than_a_bounded_number_of_requests_exported(traced: Traced) -> None:
    for second in range(3):
        traced.clock.advance(1)
        for _ in range(2 * CONTINUED_PER_SECOND):
            trace_id, _ = traced.tracing.record(with_parent(SAMPLED), request())
            assert trace_id == TRACE_ID, "also those that are not exported have the id in their line"
        assert len(traced.names) == (second + 1) * CONTINUED_PER_SECOND


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        SAMPLED.upper(),
        SAMPLED[:-1],
        SAMPLED + "-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-zz",
        f"00-{TRACE_ID[:-1]}\N{SUPERSCRIPT TWO}-{SPAN_ID}-01",
        SAMPLED + " " * 600,
        SAMPLED + "," + SAMPLED,
        SAMPLED + "\n",
        "fe-" + SAMPLED[3:] + "more",
        "\xff" * 55,
    ],
)
def test_an_invalid_parent_is_as_none(traced: Traced, value: str) -> None:
    assert traced.tracing.record(with_parent(value), request()) == ("", False)
    assert traced.names == []


def test_a_parent_of_a_later_version_is_read_as_far_as_it_is_known(traced: Traced) -> None:
    later = f"fe-{TRACE_ID}-{SPAN_ID}-01-more-that-is-new"
    assert traced.tracing.record(with_parent(later), request()) == (TRACE_ID, True)
    span = traced.span("POST /v1/tokens")
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID


@pytest.mark.slow
@given(st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,3})?", fullmatch=True))
def test_a_parent_that_looks_valid_is_what_the_library_reads(value: str) -> None:
    """The quick look agrees with OpenTelemetry's own reading."""
    read = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value}, Context()))
    expected = read.get_span_context()
    trace_id, sampled = Traced().tracing.record(with_parent(value), request())
    assert trace_id == (f"{expected.trace_id:032x}" if expected.is_valid else "")
    assert sampled == (expected.is_valid and expected.trace_flags.sampled)


def test_a_parent_that_is_given_twice_is_as_none(traced: Traced) -> None:
    twice = scope((b"traceparent", SAMPLED.encode()), (b"traceparent", SAMPLED.encode()))
    assert traced.tracing.record(twice, request()) == ("", False)


@given(st.binary(max_size=600), st.lists(st.binary(max_size=600), max_size=3))
def test_no_header_makes_tracing_fail(parent: bytes, states: list[bytes]) -> None:
    traced = Traced(ratio=0.5)
    headers = [(b"traceparent", parent), *((b"tracestate", state) for state in states)]
    trace_id, sampled = traced.tracing.record(scope(*headers), request())
    assert len(trace_id) in (0, 32)
    assert sampled == bool(traced.names)


@pytest.mark.slow
@given(st.lists(st.binary(max_size=200) | st.just(b"a=1,b=2"), max_size=4))
def test_a_bad_tracestate_does_not_cost_the_parent(states: list[bytes]) -> None:
    headers = [(b"traceparent", SAMPLED.encode()), *((b"tracestate", state) for state in states)]
    assert Traced().tracing.record(scope(*headers), request()) == (TRACE_ID, True)


def test_a_scope_that_a_connection_uses_again_keeps_its_parent_and_each_request_is_decided_anew(traced: Traced) -> None:
    reused = with_parent(SAMPLED)
    spans = [traced.tracing.record(reused, request()) for _ in range(CONTINUED_PER_SECOND + 1)]
    assert [sampled for _, sampled in spans[-2:]] == [True, False]


def test_a_span_has_the_attributes_of_the_conventions_and_nothing_of_the_client(traced: Traced) -> None:
    traced.tracing.record(with_parent(SAMPLED), request())
    attributes = traced.span("POST /v1/tokens").attributes
    assert attributes is not None
    assert dict(attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/tokens",
        "http.response.status_code": 201,
        "url.scheme": "https",
        "network.protocol.version": "1.1",
        "tokensvc.request_id": "id-1",
        "tokensvc.code": "issued",
        "tokensvc.caller": "shop",
    }


def test_unknown_paths_and_methods_are_not_in_a_span(traced: Traced) -> None:
    traced.tracing.record(with_parent(SAMPLED), request(404, "", "-", "eyJhbGci"))
    span = traced.span("HTTP")
    assert span.attributes is not None
    assert span.attributes["http.request.method"] == "_OTHER"
    assert "http.route" not in span.attributes
    assert "eyJhbGci" not in span.to_json()


@pytest.mark.parametrize(("status", "code", "is_error"), [(503, "no_signing_key", True), (403, "viewer_denied", False)])
def test_only_the_services_own_failures_are_errors(traced: Traced, status: int, code: str, is_error: bool) -> None:
    traced.tracing.record(with_parent(SAMPLED), request(status, code))
    span = traced.span("POST /v1/tokens")
    assert span.attributes is not None
    assert span.status.is_ok != is_error
    assert span.attributes.get("error.type") == (code if is_error else None)


def test_what_a_request_waits_for_is_within_its_span(traced: Traced) -> None:
    with traced.tracing.start(with_parent(SAMPLED)) as span:
        traced.tracing.observe_store(Transaction("write", 0.003, 0.0, ""))
        traced.tracing.observe_store(Transaction("read", 5.0, None, "store_unavailable"))
        traced.tracing.observe_ivs("BatchGetChannel", "ThrottlingException", 0.1)
        traced.tracing.observe_wait("policy hook", 0.02)
        [header] = traced.tracing.headers().values()
        span.end(request(202))
    parent = traced.span("POST /v1/tokens").context
    assert parent is not None
    assert header == f"00-{TRACE_ID}-{parent.span_id:016x}-01"
    children = [span for span in traced.exported.spans if span.parent and span.parent.span_id == parent.span_id]
    assert [child.name for child in children] == ["store write", "store read", "ivs/BatchGetChannel", "policy hook"]
    failed = traced.span("store read").attributes
    assert failed is not None
    assert failed["error.type"] == "store_unavailable"


def test_nothing_is_recorded_outside_of_a_sampled_trace(traced: Traced) -> None:
    with traced.tracing.start(with_parent(UNSAMPLED)):
        traced.tracing.observe_ivs("BatchGetChannel", "ok", 0.1)
        assert traced.tracing.headers() == {}
    traced.tracing.observe_store(Transaction("read", 0.1, 0.0, ""))
    assert traced.names == []


def test_a_request_whose_client_is_gone_ends_its_span(traced: Traced) -> None:
    with traced.tracing.start(with_parent(SAMPLED)):
        pass
    span = traced.span("POST")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "client_disconnected"


def test_a_task_has_a_trace_of_its_own_with_what_it_does_and_its_log_lines() -> None:
    traced, seen = Traced(ratio=1), list[dict[str, Any]]()

    def run() -> float:
        traced.tracing.observe_ivs("ListPlaybackKeyPairs", "ok", 0.01)
        seen.append(dict(structlog.contextvars.get_contextvars()))
        return 3.5

    assert traced.tracing.task("rotation", run)() == 3.5
    task, child = traced.span("task rotation"), traced.span("ivs/ListPlaybackKeyPairs")
    assert task.context is not None
    assert task.parent is None
    assert child.parent is not None
    assert child.parent.span_id == task.context.span_id
    assert seen == [{"trace_id": f"{task.context.trace_id:032x}"}]
    assert "trace_id" not in structlog.contextvars.get_contextvars()


def test_a_run_that_did_nothing_is_not_exported_and_one_that_failed_is_without_its_message() -> None:
    traced, secret = Traced(ratio=1), secrets.token_hex(16)
    assert traced.tracing.task("rotation", lambda: IDLE)() is IDLE
    assert traced.names == []

    def fail() -> None:
        raise ValueError(secret)

    with pytest.raises(ValueError, match=secret):
        traced.tracing.task("prune", fail)()
    span = traced.span("task prune")
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert secret not in span.to_json()


@pytest.fixture(autouse=True)
def _own_context() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()
