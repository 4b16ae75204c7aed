"""One request and its answer, as the front door and the log see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope

from tokensvc.http.problem_details import Response
from tokensvc.jose.es384 import PreparedKey


class RequestContext:
    """What is known of a request beside the request itself."""

    __slots__ = ("began_at", "caller", "request_id")

    def __init__(self, request_id: str, started_at: float) -> None:
        self.request_id = request_id
        self.started_at = started_at
        """On the monotonic clock."""
        self.caller = ""
        """The authenticated caller's name, once known."""


Endpoint = Callable[[Scope, Receive, RequestContext], Awaitable[Response]]
"""Answers one route. Raises TokensvcError for the front door to render."""


SignMany = Callable[[list[tuple[PreparedKey, bytes]]], list[bytes]]
"""As `jose.signing.signer.Signer.sign_many`."""


class PendingResponse(Protocol):
    """A request that was judged, and wants nothing but a signature to be answered."""

    @property
    def key(self) -> PreparedKey: ...

    @property
    def digest(self) -> bytes: ...

    def response(self, signature: bytes, seconds: float) -> Response:
        """The answer, now that the signature is there. `seconds` is its share of the time that signing took."""
        ...


NowaitEndpoint = Callable[[Scope, bytes, RequestContext], PendingResponse | None]
"""Judges a request whose body came in whole and without a content coding, without waiting for anything; None when it
would have to. Raises as above."""

Respond = Callable[[Response, str], None]
"""Sends an answer, with the request's id."""


class Route(NamedTuple):
    """What one path takes and who answers."""

    method: str
    endpoint: Endpoint
    handle_nowait: NowaitEndpoint | None = None
    """Asked first, where the server can, and `endpoint` only when it declines."""
    also: Route | None = None
    """The same path with another method."""
    logs_success: bool = True
    """False for probes and scrapes, which come every few seconds: only those that fail have a line in the log."""

    def taking(self, method: str) -> Route | None:
        """The route of this path that takes the method; HEAD is taken for GET."""
        if self.method == method or (method, self.method) == ("HEAD", "GET"):
            return self
        return self.also.taking(method) if self.also is not None else None

    @property
    def methods(self) -> str:
        """All that the path takes, as `Allow` lists them."""
        return self.method if self.also is None else f"{self.method}, {self.also.methods}"


class NowaitApplication(Protocol):
    """An application that can answer whole requests without waiting, and all that came in together as a group."""

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Whether the request is taken: then it is replied to before this turn of the loop is over."""
        ...

    def flush(self) -> None:
        """Reply now to all that were taken."""
        ...
