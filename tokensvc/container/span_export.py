"""Exports spans to an OpenTelemetry collector over OTLP/HTTP, from a bounded queue in one thread.

Invariants
- Ending a span never waits: it is queued, and dropped and counted if QUEUE_MAX spans wait already.
- A collector that is away, rejects spans or hangs costs spans and nothing else. The log says so as it does of any
  outage; the library's own lines, one for each attempt, are not written: they may quote its URL and headers. Of them,
  only a status or the type of an exception is taken over.
- On exit, what is queued is exported for at most EXIT_SECONDS.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from tokensvc.errors import FieldError, SettingsError
from tokensvc.log import structlog
from tokensvc.outages import OutageTracker

QUEUE_MAX = 2048
BATCH_MAX = 512
DELAY_MILLISECONDS = 1000
EXIT_SECONDS = 2.0
_SUBJECT = "traces"

_log = structlog.get_logger(__name__)


class _LastCause(logging.Handler):
    """Takes from the library's lines why it could not export: a status, or the type of an exception."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, Exception):
                self.text = type(argument).__name__
            elif isinstance(argument, int) and 100 <= argument < 600:
                self.text = f"status {argument}"


_last_cause = _LastCause()
"""One for each process, like the library's logger."""


class CountingExporter(SpanExporter):
    """Counts what another exporter cannot export, and logs when that begins and ends."""

    def __init__(self, exporter: SpanExporter, on_dropped: Callable[[str, int], None]) -> None:
        """`on_dropped` gets one of `metrics.DROPPED_SPAN_REASONS`, and how many spans."""
        self._exporter = exporter
        self._on_dropped = on_dropped
        self._outages = OutageTracker()
        self._lock = threading.Lock()
        self._waiting = 0

    def admit(self) -> bool:
        """Whether there is room in the queue for one more span, which is counted."""
        with self._lock:
            is_admitted = self._waiting < QUEUE_MAX
            self._waiting += is_admitted
        if not is_admitted:
            self._on_dropped("queue_full", 1)
        return is_admitted

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        _last_cause.text = ""  # of an earlier failure
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 - an exporter may raise anything, and tracing must do no harm
            result = SpanExportResult.FAILURE
        with self._lock:
            self._waiting -= len(spans)
        if result is not SpanExportResult.SUCCESS:
            self._on_dropped("export_failed", len(spans))
            cause = _last_cause.text or "timeout"  # the one reason that the library gives without a value
            if (report := self._outages.record_failure(_SUBJECT, cause)) is not None:
                _log.warning("traces not exported", error=cause, spans=len(spans), seconds=round(report.seconds, 1))
        elif (report := self._outages.record_recovery(_SUBJECT)) is not None:
            _log.info("traces are exported again", seconds=round(report.seconds, 1))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _BoundedProcessor(BatchSpanProcessor):
    """Drops the newest spans when too many wait; the library drops the oldest, and logs each."""

    def __init__(self, exporter: CountingExporter) -> None:
        super().__init__(
            exporter,
            max_queue_size=2 * QUEUE_MAX,  # never reached: `exporter` counts what waits and what is being exported
            schedule_delay_millis=DELAY_MILLISECONDS,
            max_export_batch_size=BATCH_MAX,
        )
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        if self._exporter.admit():
            super().on_end(span)


def make_provider(
    attributes: Mapping[str, str], on_dropped: Callable[[str, int], None], exporter: SpanExporter | None = None
) -> TracerProvider:
    """A provider that exports every span that is started. OpenTelemetry's own variables say where to and how, and
    precede `attributes`. Raises SettingsError if one of them cannot be used."""
    library = logging.getLogger("opentelemetry")
    library.handlers, library.propagate = [_last_cause], False
    try:
        resource = Resource.create(dict(attributes)).merge(OTELResourceDetector().detect())
        exporter = exporter or OTLPSpanExporter()
    except (ValueError, OSError) as error:
        rule = f"cannot be used ({type(error).__name__}); check the files of certificates"
        raise SettingsError([FieldError("OTEL_EXPORTER_OTLP_*", rule)]) from None
    try:
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    except ValueError:
        raise SettingsError([FieldError("OTEL_*_LIMIT", "must be numbers of at least 0")]) from None
    provider.add_span_processor(_BoundedProcessor(CountingExporter(exporter, on_dropped)))
    return provider


def shut_down(provider: TracerProvider) -> None:
    """Export what is queued, for at most EXIT_SECONDS."""
    thread = threading.Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
    thread.start()
    thread.join(EXIT_SECONDS)
