"""An operation of the HTTP interface: one method of a path, its handlers and its description.

Invariants
- An operation states only what its models cannot express; `openapi.py` generates the description from both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
from types import MethodType
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.types import Receive, Scope

from tokensvc.http.problem_details import Response
from tokensvc.web.context import PendingResponse, RequestContext, Route
from tokensvc.web.examples import NO_EXAMPLE, Example

_Owner = TypeVar("_Owner")


class Tag(StrEnum):
    """What an operation is about. Generators make one module or class of each."""

    TOKENS = "Tokens"
    PLAYBACK = "Playback"
    REVOCATIONS = "Revocations"
    DENIALS = "Denials"
    KEYS = "Keys"
    AUDIT = "Audit"
    MONITORING = "Monitoring"


TAG_DESCRIPTIONS: Mapping[Tag, str] = {
    Tag.TOKENS: "Issue playback tokens, and explain why a token can or cannot start playback",
    Tag.PLAYBACK: "Guard the files of a stream for a proxy",
    Tag.REVOCATIONS: "End viewers' sessions in IVS",
    Tag.DENIALS: "Deny viewers new tokens",
    Tag.KEYS: "Read, rotate and compromise the key pairs that sign tokens",
    Tag.AUDIT: "Read who did what, and what was refused",
    Tag.MONITORING: "The status of the deployment, probes, metrics, the public keys and this description",
}


@dataclass(frozen=True)
class Operation(Generic[_Owner]):
    """The handlers are methods of an owner, which is bound when a listener is assembled."""

    method: str
    path: str
    endpoint: Callable[[_Owner, Scope, Receive, RequestContext], Awaitable[Response]]
    summary: str
    _: KW_ONLY
    operation_id: str
    """Its unique name, a verb and a noun in camel case. Generated clients name their functions after it, so it never
    changes."""
    tag: Tag
    description: str = ""
    """What it does, in paragraphs of Markdown."""
    scope: str = ""
    """The scope that the caller needs; empty for anonymous operations."""
    request: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    request_headers: tuple[tuple[str, str], ...] = ()
    """Headers that this operation reads in addition to the usual ones, with their meaning."""
    status: int = 200
    response: type[BaseModel] | None = None
    other_response: tuple[str, Mapping[str, Any]] | None = None
    """Media type and schema of a successful response that no model describes."""
    response_headers: tuple[tuple[str, str], ...] = ()
    """Headers of a successful response in addition to the usual ones, with their meaning."""
    errors: tuple[str, ...] = ()
    """The codes that it can fail with (`http/error_codes.py`), besides those that every operation can."""
    item_errors: tuple[str, ...] = ()
    """The codes that single items of a batch can fail with."""
    example: Example = NO_EXAMPLE
    handle_nowait: Callable[[_Owner, Scope, bytes, RequestContext], PendingResponse | None] | None = None
    """As `context.NowaitEndpoint`."""
    logs_success: bool = True
    """As in `context.Route`."""
    covers_subpaths: bool = False
    """As in `context.Route`."""

    def bind(self, owner: _Owner) -> BoundOperation:
        """The operation with its handlers."""
        nowait = None if self.handle_nowait is None else MethodType(self.handle_nowait, owner)
        route = Route(
            self.method,
            partial(self.endpoint, owner),
            nowait,
            logs_success=self.logs_success,
            covers_subpaths=self.covers_subpaths,
        )
        return BoundOperation(self, route)


class BoundOperation(NamedTuple):
    """An operation and the route that serves it."""

    operation: Operation[Any]
    route: Route


def bind_all(operations: Iterable[Operation[_Owner]], owner: _Owner) -> list[BoundOperation]:
    """Bind the operations of one owner."""
    return [operation.bind(owner) for operation in operations]


def routes_of(bound: Iterable[BoundOperation]) -> dict[str, list[Route]]:
    """The routes of each path, in order."""
    table: dict[str, list[Route]] = {}
    for operation, route in bound:
        table.setdefault(operation.path, []).append(route)
    return table
