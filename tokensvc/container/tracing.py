"""OpenTelemetry traces: of requests, of what they wait for, and of background tasks.

Invariants
- Loaded only where `TOKENSVC_TRACING` is on. Nothing that it observes knows of it: observers are passed on.
- A request continues the trace of its `traceparent` header (W3C Trace Context), and is exported only if that is
  sampled. Of requests without one, and of the runs of background tasks, the fraction `TOKENSVC_TRACE_RATIO` starts a
  trace.
- Any client can send a sampled `traceparent`, so a process continues at most CONTINUED_PER_SECOND; what is above is
  handled as not sampled. An invalid header is as none.
- Spans have no token, key, viewer, channel, client address, query or path as sent. Attributes are those of the semantic
  conventions; ours begin with `tokensvc.`.
"""

from __future__ import annotations

import functools
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from tokensvc.container.span_export import make_provider, shut_down
from tokensvc.log import structlog
from tokensvc.metrics import HandledRequest
from tokensvc.runner import IDLE, RunFunction
from tokensvc.storage.engine import Transaction
from tokensvc.web.request_traces import RequestSpan, RequestTrace

CONTINUED_PER_SECOND = 250
HEADER_MAX_BYTES = 512
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PARENT: Final = "tokensvc.trace_parent"
"""The key of a scope under which the parent is stored: a connection's next request may have the same scope."""
_TRACEPARENT = re.compile(
    rb"[ \t]*(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?[ \t]*", re.DOTALL
)
_NO_TRACE: RequestTrace = ("", False)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_PROPAGATOR = TraceContextTextMapPropagator()


class _Parent(NamedTuple):
    """The span that a request's `traceparent` names."""

    trace_id: str
    is_sampled: bool
    headers: Mapping[str, str]
    """Both headers, if it is sampled."""


class Tracing:
    """The traces of one process."""

    def __init__(
        self,
        provider: TracerProvider,
        *,
        ratio: float,
        store_system: str,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`store_system` is the database's name in the semantic conventions: `postgresql` or `sqlite`."""
        self._provider = provider
        self._tracer = provider.get_tracer("tokensvc")
        self._ratio = ratio
        self._store_system = store_system
        self._monotonic = monotonic
        self._chance = chance
        self._second = -1
        self._continued = 0

    # Requests (`web.request_traces.RequestTracer`)

    @contextmanager
    def start(self, scope: Scope) -> Iterator[RequestSpan]:
        """As `RequestTracer.start`."""
        parent = _parent_of(scope)
        span = self._sampled_span(parent, scope["method"], time.time_ns())
        trace_id = _trace_id(span) if span is not None else self.trace_id(scope)
        token = otel_context.attach(trace.set_span_in_context(span)) if span is not None else None
        request = _TaskRequest(span, trace_id, scope)
        try:
            with structlog.contextvars.bound_contextvars(trace_id=trace_id) if trace_id else nullcontext():
                yield request
        finally:
            request.abandon()
            if token is not None:
                otel_context.detach(token)

    def trace_id(self, scope: Scope) -> str:
        """As `RequestTracer.trace_id`."""
        parent = _parent_of(scope)
        return parent.trace_id if parent is not None else ""

    def record(self, scope: Scope, request: HandledRequest) -> RequestTrace:
        """As `RequestTracer.record`."""
        parent, ended_at = _parent_of(scope), time.time_ns()
        span = self._sampled_span(parent, request.method, ended_at - int(request.seconds * 1e9))
        if span is None:
            return (parent.trace_id, False) if parent is not None else _NO_TRACE
        _describe(span, scope, request)
        span.end(ended_at)
        return _trace_id(span), True

    def _sampled_span(self, parent: _Parent | None, name: str, started_at: int) -> Span | None:
        """The span of a request if its trace is sampled, else None."""
        if parent is None:
            is_exported, context = self._is_chosen(), Context()
        else:
            is_exported = parent.is_sampled and self._may_continue()
            context = _PROPAGATOR.extract(parent.headers, Context()) if is_exported else Context()
        if not is_exported:
            return None
        span = self._tracer.start_span(name, context, SpanKind.SERVER, start_time=started_at)
        return span if span.get_span_context().is_valid else None  # with OTEL_SDK_DISABLED there is none

    def _is_chosen(self) -> bool:
        return self._ratio > 0 and self._chance() < self._ratio

    def _may_continue(self) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._continued = second, 0
        self._continued += 1
        return self._continued <= CONTINUED_PER_SECOND

    # What requests and tasks wait for

    def observe_store(self, transaction: Transaction) -> None:
        """Record a transaction of the store (`storage.engine.Observe`)."""
        attributes = {"db.system.name": self._store_system, "tokensvc.store.mode": transaction.mode}
        self._child(f"store {transaction.mode}", transaction.seconds, attributes, transaction.error_code)

    def observe_ivs(self, operation: str, code: str, seconds: float) -> None:
        """Record a request to IVS (`aws.ivs.CallObserver`)."""
        attributes = {"rpc.system": "aws-api", "rpc.service": "ivs", "rpc.method": operation}
        self._child(f"ivs/{operation}", seconds, attributes, "" if code == "ok" else code)

    def observe_wait(self, name: str, seconds: float) -> None:
        """Record a wait for something outside this process, such as the policy hook."""
        self._child(name, seconds, {}, "")

    def _child(self, name: str, seconds: float, attributes: Mapping[str, str], error: str) -> None:
        """A span that ends now, within the present one. Outside of a sampled trace there is none."""
        if not trace.get_current_span().is_recording():
            return
        ended_at = time.time_ns()
        started_at = ended_at - int(seconds * 1e9)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_at)
        if error:
            _fail(span, error)
        span.end(ended_at)

    def headers(self) -> dict[str, str]:
        """The headers that continue the present trace in another service; none outside of a sampled trace."""
        headers: dict[str, str] = {}
        if trace.get_current_span().is_recording():
            _PROPAGATOR.inject(headers)
        return headers

    # Background tasks

    def task(self, name: str, run_once: RunFunction) -> RunFunction:
        """The same run of a background task, in a trace of its own if it is chosen. A run that did nothing is not
        exported."""

        @functools.wraps(run_once)
        def run() -> Any:
            if not self._is_chosen():
                return run_once()
            span = self._tracer.start_span(f"task {name}", Context(), attributes={"tokensvc.task": name})
            token = otel_context.attach(trace.set_span_in_context(span))
            try:
                with structlog.contextvars.bound_contextvars(trace_id=_trace_id(span)):
                    result = run_once()
            except Exception as error:
                _fail(span, type(error).__name__)
                span.end()
                raise
            finally:
                otel_context.detach(token)
            if result is not IDLE:
                span.end()
            return result

        return run

    def close(self) -> None:
        """Export what is queued, for a bounded time."""
        shut_down(self._provider)


class _TaskRequest:
    """A request that is handled in a task (`web.request_traces.RequestSpan`)."""

    def __init__(self, span: Span | None, trace_id: str, scope: Scope) -> None:
        self._span = span
        self._trace_id = trace_id
        self._scope = scope

    def end(self, request: HandledRequest) -> RequestTrace:
        """As `RequestSpan.end`."""
        span, self._span = self._span, None
        if span is None:
            return self._trace_id, False
        _describe(span, self._scope, request)
        span.end()
        return self._trace_id, True

    def abandon(self) -> None:
        """End the span of a request that got no response, because its client is gone."""
        if self._span is not None:
            _fail(self._span, "client_disconnected")
            self._span.end()


def start_tracing(
    *, ratio: float, version: str, instance: str, database_url: str, on_dropped: Callable[[str, int], None]
) -> Tracing:
    """Start to trace this process. Raises SettingsError if a variable of OpenTelemetry's cannot be used."""
    attributes = {"service.name": "tokensvc", "service.version": version, "service.instance.id": instance}
    system = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    return Tracing(make_provider(attributes, on_dropped), ratio=ratio, store_system=system)


def _parent_of(scope: Scope) -> _Parent | None:
    """The span that the request's headers name, if `traceparent` is valid and given once."""
    if _PARENT in scope:
        known: _Parent | None = scope[_PARENT]
        return known
    headers = scope["headers"]
    parents = [value for name, value in headers if name == b"traceparent"]
    scope[_PARENT] = parent = _read(parents[0], headers) if len(parents) == 1 else None
    return parent


def _read(value: bytes, headers: Iterable[tuple[bytes, bytes]]) -> _Parent | None:
    """Every request pays for this, so the library is left to read what is sampled. Headers that are too long are
    ignored: it would write a log line about each."""
    found = _TRACEPARENT.fullmatch(value) if len(value) <= HEADER_MAX_BYTES else None
    if found is None:
        return None
    version, trace_id, flags, more = found.groups()
    if version == b"00" and more:
        return None
    if not int(flags, 16) & trace.TraceFlags.SAMPLED:
        return _Parent(trace_id.decode(), False, _NO_HEADERS)
    carrier = {"traceparent": value.decode("latin-1")}
    state = b",".join(value for name, value in headers if name == b"tracestate")
    if state and len(state) <= HEADER_MAX_BYTES:
        carrier["tracestate"] = state.decode("latin-1")
    return _Parent(trace_id.decode(), True, carrier)


def _trace_id(span: Span) -> str:
    return format_trace_id(span.get_span_context().trace_id)


def _describe(span: Span, scope: Scope, request: HandledRequest) -> None:
    """Name the span and set its attributes (OpenTelemetry semantic conventions, "HTTP server")."""
    method = request.method if request.method in METHODS else "_OTHER"
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": request.status,
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "tokensvc.request_id": request.request_id,
        "tokensvc.code": request.code,
    }
    name = method if method != "_OTHER" else "HTTP"
    if request.route != "-":
        attributes["http.route"] = request.route
        name = f"{name} {request.route}"
    if request.caller:
        attributes["tokensvc.caller"] = request.caller
    span.update_name(name)
    span.set_attributes(attributes)
    if request.status >= 500:
        _fail(span, request.code or str(request.status))


def _fail(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))
