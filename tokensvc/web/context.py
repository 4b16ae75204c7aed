"""The types that the application, its endpoints and the signing batch share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope

from tokensvc.http.problem_details import Response
from tokensvc.jose.es384 import PreparedKey


class RefusedToken(NamedTuple):
    """For which channel and viewer a token was requested in vain."""

    channel_arn: str
    viewer: str
    """Viewer id or subject; "" for an anonymous viewer."""

    def __repr__(self) -> str:
        return "RefusedToken()"


class RequestContext:
    """What is known about a request in addition to its ASGI scope."""

    __slots__ = ("caller", "key_id", "refused", "request_id", "started_at")

    def __init__(self, request_id: str, started_at: float) -> None:
        self.request_id = request_id
        self.started_at = started_at
        """Monotonic clock, in seconds."""
        self.caller = ""
        """The name of the caller; empty until it is authenticated."""
        self.key_id = ""
        """The public id of its API key; empty until it is authenticated, and for bearer tokens."""
        self.refused: RefusedToken | None = None
        """The token that was not issued; set only when a token request fails once it is parsed."""


Endpoint = Callable[[Scope, Receive, RequestContext], Awaitable[Response]]
"""Handles one operation. Raises TokensvcError, which the application renders."""


SignMany = Callable[[list[tuple[PreparedKey, bytes]]], list[bytes]]
"""As `jose.signing.signer.Signer.sign_many`."""


class PendingResponse(Protocol):
    """A response that only lacks its signature."""

    @property
    def key(self) -> PreparedKey: ...

    @property
    def digest(self) -> bytes: ...

    def complete(self, signature: bytes, seconds: float) -> Response:
        """The response with this signature. `seconds` is the request's share of the signing time."""
        ...


NowaitEndpoint = Callable[[Scope, bytes, RequestContext], PendingResponse | None]
"""Handles a request whose complete body is at hand and has no content coding, without awaiting anything. None when it
would have to wait: the request then goes to the `Endpoint`. Raises TokensvcError as an `Endpoint` does."""

Respond = Callable[[Response, str], None]
"""Sends a response under a request id."""


class Route(NamedTuple):
    """One method of a path and its handlers."""

    method: str
    endpoint: Endpoint
    handle_nowait: NowaitEndpoint | None = None
    """Tried first where the server supports it; `endpoint` handles what it declines."""
    logs_success: bool = True
    """False for probes and scrapes, which come every few seconds: only their failures are logged."""
    covers_subpaths: bool = False
    """Whether it also serves every path below its own."""


Routes = Mapping[str, Sequence[Route]]
"""The routes of each path. The parameters of a path template, such as `{id}`, are in `scope["path_params"]`."""


class NowaitApplication(Protocol):
    """An application that can handle complete requests without awaiting, and signs those of one iteration of the event
    loop as a batch."""

    def handle_nowait(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Whether the request was accepted. If so, `respond` is called before this iteration of the event loop ends."""
        ...

    def flush(self) -> None:
        """Respond now to every accepted request."""
        ...
