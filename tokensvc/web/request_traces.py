"""What the application needs of a tracer: the spans of requests, as protocols. Nothing here loads a tracing library."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from starlette.types import Scope

from tokensvc.metrics import HandledRequest
from tokensvc.web.context import RequestContext

RequestTrace = tuple[str, bool]
"""The trace id of a request, "" if it has none, and whether its trace is exported."""


class RequestSpan(Protocol):
    """The span of a request that is handled in a task."""

    def end(self, request: HandledRequest, /) -> RequestTrace:
        """End it, with what is known once the request has its response."""
        ...


class RequestTracer(Protocol):
    """Traces requests. A request belongs to the trace that its `traceparent` header names, if that is valid."""

    def start(self, scope: Scope, /) -> AbstractContextManager[RequestSpan]:
        """Start the span of a request. While it is open, spans of what the request waits for are its children, and log
        lines have its trace id."""
        ...

    def trace_id(self, scope: Scope, /) -> str:
        """The trace that a request belongs to by its header; "" without one."""
        ...

    def record(self, scope: Scope, request: HandledRequest, /) -> RequestTrace:
        """Record the span of a request that was handled in one iteration of the event loop and has its response."""
        ...


class TracedContext(RequestContext):
    """The context of a request that has a span from the start."""

    __slots__ = ("span",)

    def __init__(self, request_id: str, started_at: float, span: RequestSpan) -> None:
        super().__init__(request_id, started_at)
        self.span = span
