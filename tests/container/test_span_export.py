"""Spans are exported from a bounded queue, and a collector that fails or hangs costs spans only."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from tokensvc.container.span_export import EXIT_SECONDS, QUEUE_MAX, make_provider, shut_down


class SlowExporter(SpanExporter):
    """Waits before it exports, and may fail."""

    def __init__(self, result: SpanExportResult | Exception = SpanExportResult.SUCCESS) -> None:
        self.released = threading.Event()
        self.entered = threading.Event()
        self.result = result
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.released.wait(20)
        self.count += len(spans)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Dropped(dict[str, int]):
    def add(self, reason: str, count: int) -> None:
        self[reason] = self.get(reason, 0) + count


def test_ending_a_span_never_waits_and_what_does_not_fit_is_dropped_and_counted() -> None:
    dropped, exporter = Dropped(), SlowExporter()
    provider = make_provider({}, dropped.add, exporter)
    tracer = provider.get_tracer("test")
    started_at = time.monotonic()
    for _ in range(QUEUE_MAX + 100):
        tracer.start_span("one").end()
    assert time.monotonic() - started_at < 10
    assert exporter.entered.wait(5), "the collector hangs"
    assert dropped == {"queue_full": 100}
    exporter.released.set()
    provider.shutdown()
    assert exporter.count == QUEUE_MAX
    assert dropped == {"queue_full": 100}


@pytest.mark.slow
def test_there_is_room_again_once_spans_are_exported() -> None:
    dropped, exporter = Dropped(), SlowExporter()
    exporter.released.set()
    provider = make_provider({}, dropped.add, exporter)
    for _ in range(3):
        for _ in range(QUEUE_MAX):
            provider.get_tracer("test").start_span("one").end()
        provider.force_flush()
    provider.shutdown()
    assert (exporter.count, dropped) == (3 * QUEUE_MAX, {})


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, ValueError("what the collector said")])
def test_spans_that_cannot_be_exported_are_counted(result: SpanExportResult | Exception) -> None:
    dropped, exporter = Dropped(), SlowExporter(result)
    exporter.released.set()
    provider = make_provider({}, dropped.add, exporter)
    for _ in range(7):
        provider.get_tracer("test").start_span("one").end()
    provider.shutdown()
    assert dropped == {"export_failed": 7}


def test_a_failure_is_not_logged_with_the_cause_of_an_earlier_one() -> None:
    class Failing(SpanExporter):
        """Fails with the next of these causes, which it logs as the library does. "" is a time-out."""

        def __init__(self, *causes: object) -> None:
            self.causes = list(causes)

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if cause := self.causes.pop(0):
                logging.getLogger("opentelemetry").error("failed: %s", cause)
            return SpanExportResult.FAILURE

    provider = make_provider({}, Dropped().add, Failing(503, ""))
    with capture_logs() as lines:
        for _ in range(2):
            provider.get_tracer("test").start_span("one").end()
            provider.force_flush()
        provider.shutdown()
    assert [(line["event"], line["error"]) for line in lines] == [
        ("traces not exported", "status 503"),
        ("traces not exported", "timeout"),
    ]


@pytest.mark.slow
def test_a_collector_that_hangs_does_not_delay_the_exit() -> None:
    exporter = SlowExporter()
    provider = make_provider({}, Dropped().add, exporter)
    provider.get_tracer("test").start_span("one").end()
    started_at = time.monotonic()
    shut_down(provider)
    assert time.monotonic() - started_at < EXIT_SECONDS + 10
    exporter.released.set()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "tokensvc"),
        ({"OTEL_SERVICE_NAME": "live-tokens"}, "live-tokens"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=from-attributes,team=video"}, "from-attributes"),
    ],
)
def test_opentelemetrys_own_variables_precede_our_names(
    variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    exporter = SlowExporter()
    exporter.released.set()
    provider = make_provider({"service.name": "tokensvc", "service.version": "1.2.3"}, Dropped().add, exporter)
    assert provider.resource.attributes["service.name"] == name
    assert provider.resource.attributes["service.version"] == "1.2.3"
    provider.shutdown()
