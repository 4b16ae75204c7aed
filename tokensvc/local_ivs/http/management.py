"""The management listener of the local IVS: control over clock, streams, sessions and faults.

The real IVS has nothing like it. It is served on a loopback listener of its own; OPERATIONS lists everything, and
`docs/reference/management-listener.md` is generated from it.

Invariants
- Errors are RFC 9457 problem details, like the service's. An error of IVS itself keeps IVS's code.
- There are no accounts here: the ARN of a channel names its account.
- A page in a browser cannot use it: every request is checked by `same_origin.py` first.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from tokensvc.errors import TokensvcError
from tokensvc.http.body import read_json
from tokensvc.http.problem_details import make_problem, problem_details, status_of
from tokensvc.json_models import read_as
from tokensvc.local_ivs.api_model import status_of as ivs_status_of
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.faults import Faults, PlannedFault
from tokensvc.local_ivs.http import management_requests as requests
from tokensvc.local_ivs.http.event_log import EventLog
from tokensvc.local_ivs.http.same_origin import NotSameOrigin, check_no_page
from tokensvc.local_ivs.live_streams import StreamSource
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.session_store import PlaybackSession
from tokensvc.timestamps import rfc3339

BODY_MAX_BYTES = 64 * 1024
THREADS = 4
DESCRIPTION = "The management listener of tokensvc's local IVS. This is not AWS."
_T = TypeVar("_T")
_Endpoint = Callable[[Request], Awaitable[Response]]


class ManagementContext(NamedTuple):
    """What the listener works on."""

    model: ApiModel
    resources: ResourceStore
    clock: AdvanceableClock
    streams: StreamSource
    faults: Faults
    sessions: Sessions
    closing: threading.Event
    """Set before the listener is closed, which ends the event streams."""


class Management:
    """The routes of the listener."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context
        self._events = EventLog(context.resources, context.closing)
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        return [Route(o.path, _checked(MethodType(o.endpoint, self)), methods=[o.method]) for o in OPERATIONS]

    async def show(self, _: Request) -> Response:
        clock = self._context.clock
        now = rfc3339(int(clock.now()))
        return JSONResponse({"description": DESCRIPTION, "now": now, "clockOffsetSeconds": clock.offset_seconds})

    async def advance(self, request: Request) -> Response:
        body = read_as(requests.AdvanceClockRequest, await _body(request))
        await self._run(self._context.clock.advance, body.advance_seconds)
        return await self.show(request)

    async def start(self, request: Request) -> Response:
        body = read_as(requests.StartStreamRequest, await _body(request))
        configurations = body.ingest_configurations
        ingest = None if configurations is None else requests.read_ingest(self._context.model, configurations)
        stream_id = await self._run(self._context.streams.start, body.channel_arn, ingest)
        return JSONResponse({"streamId": stream_id}, 201)

    async def stop(self, request: Request) -> Response:
        body = read_as(requests.StreamRequest, await _body(request))
        await self._run(self._context.streams.stop, body.channel_arn)
        return Response(status_code=204)

    async def set_health(self, request: Request) -> Response:
        body = read_as(requests.SetHealthRequest, await _body(request))
        await self._run(self._context.streams.set_health, body.channel_arn, body.health)
        return Response(status_code=204)

    async def set_ingest(self, request: Request) -> Response:
        body = read_as(requests.SetIngestRequest, await _body(request))
        ingest = requests.read_ingest(self._context.model, body.ingest_configurations)
        await self._run(self._context.streams.set_ingest, body.channel_arn, ingest)
        return Response(status_code=204)

    async def set_viewers(self, request: Request) -> Response:
        body = read_as(requests.SetViewersRequest, await _body(request))
        await self._run(self._context.streams.set_viewers, body.channel_arn, body.count)
        return Response(status_code=204)

    async def list_sessions(self, request: Request) -> Response:
        query = read_as(requests.ListSessionsQuery, dict(request.query_params))
        now = self._context.clock.now()
        limit = query.max_results
        found = await self._run(self._context.sessions.active, now, limit + 1, query.channel_arn, query.after)
        token = query.page_tokens.encode(*found[limit - 1].position) if len(found) > limit else None
        return JSONResponse({"sessions": [_render_session(session) for session in found[:limit]], "nextToken": token})

    async def end_session(self, request: Request) -> Response:
        session_id = request.path_params["sessionId"]
        if not await self._run(self._context.sessions.end, session_id, self._context.clock.now()):
            raise IvsError("ResourceNotFoundException", "There is no such session, or it has ended")
        return Response(status_code=204)

    async def get_events(self, request: Request) -> Response:
        return await self._events.get(request)

    async def show_faults(self, _: Request) -> Response:
        return JSONResponse({"faults": [_render_fault(planned) for planned in self._context.faults.planned()]})

    async def plan_fault(self, request: Request) -> Response:
        body = read_as(requests.PlanFaultRequest, await _body(request))
        return JSONResponse(
            _render_fault(self._context.faults.plan(requests.read_fault(self._context.model, body))), 201
        )

    async def clear_faults(self, _: Request) -> Response:
        self._context.faults.clear()
        return Response(status_code=204)

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


class ManagementOperation(NamedTuple):
    """One method of a path."""

    method: str
    path: str
    endpoint: Callable[[Management, Request], Awaitable[Response]]
    request: type[BaseModel] | None
    status: int
    description: str
    """What it does, in Markdown."""


OPERATIONS: tuple[ManagementOperation, ...] = (
    ManagementOperation(
        "GET",
        "/",
        Management.show,
        None,
        200,
        "Shows what this is, the local IVS's time, and how far that is ahead of the real one.",
    ),
    ManagementOperation(
        "POST",
        "/clock",
        Management.advance,
        requests.AdvanceClockRequest,
        200,
        "Advances the local IVS's clock: tokens expire, rate limits refill, states settle. It cannot go back.",
    ),
    ManagementOperation(
        "POST",
        "/streams/start",
        Management.start,
        requests.StartStreamRequest,
        201,
        "Starts the channel's stream, and returns its `streamId`. Until then, the channel's playback URL returns 404 "
        "to authorized viewers.",
    ),
    ManagementOperation(
        "POST", "/streams/stop", Management.stop, requests.StreamRequest, 204, "Stops the channel's stream."
    ),
    ManagementOperation(
        "POST",
        "/streams/health",
        Management.set_health,
        requests.SetHealthRequest,
        204,
        "Sets the health of the channel's stream.",
    ),
    ManagementOperation(
        "POST",
        "/streams/ingest",
        Management.set_ingest,
        requests.SetIngestRequest,
        204,
        "Changes what the encoder sends. Exceeding a limit of the channel's type is a limit breach, which is an event.",
    ),
    ManagementOperation(
        "POST",
        "/streams/viewers",
        Management.set_viewers,
        requests.SetViewersRequest,
        204,
        "Sets a number of viewers of the stream.",
    ),
    ManagementOperation(
        "GET",
        "/sessions",
        Management.list_sessions,
        None,
        200,
        "Lists the sessions of players, newest first. Each start of playback begins one; it ends with its stream or a "
        "minute after its last request. A session id is a secret: its variant playlists and segments need nothing "
        "else. With `?channelArn=ARN`, only those of a channel; `maxResults` is 1 to 1,000, by default 100. Pass "
        "`nextToken` to get the next page; on the last page it is `null`.",
    ),
    ManagementOperation(
        "DELETE",
        "/sessions/{sessionId}",
        Management.end_session,
        None,
        204,
        "Ends a session: its player's next request gets a 403. The player may start anew.",
    ),
    ManagementOperation(
        "GET",
        "/events",
        Management.get_events,
        None,
        200,
        "New events, as server-sent events whose `id` is the event's number. The header `Last-Event-ID` resumes after "
        "a number. With `?after=N&maxResults=M`, the response is one page of JSON instead.",
    ),
    ManagementOperation(
        "GET",
        "/faults",
        Management.show_faults,
        None,
        200,
        "Lists the active faults, and how often each was injected (`drawn`).",
    ),
    ManagementOperation(
        "POST", "/faults", Management.plan_fault, requests.PlanFaultRequest, 201, "Injects a fault from now on."
    ),
    ManagementOperation("DELETE", "/faults", Management.clear_faults, None, 204, "Ends all faults."),
)


def management_app(context: ManagementContext) -> Starlette:
    """The ASGI application of the management listener."""

    routes = Management(context).routes()

    async def render_error(request: Request, failure: Exception) -> Response:
        headers = {}
        match failure:
            case TokensvcError():
                status, body = status_of(failure), problem_details(failure)
            case IvsError():
                status = ivs_status_of(context.model, failure.code)
                body = make_problem(status, failure.code, failure.message)
            case NotSameOrigin():
                status, body = 403, make_problem(403, failure.code, str(failure))
            case HTTPException():
                code = "method_not_allowed" if failure.status_code == 405 else "route_not_found"
                status, body = failure.status_code, make_problem(failure.status_code, code, failure.detail)
                if status == 405:
                    headers["allow"] = _allowed_methods(routes, request)
            case _:
                raise failure
        return JSONResponse(body, status, headers, media_type="application/problem+json")

    handlers: Any = dict.fromkeys((TokensvcError, IvsError, NotSameOrigin, HTTPException), render_error)
    return Starlette(routes=routes, exception_handlers=handlers)


def _allowed_methods(routes: list[Route], request: Request) -> str:
    """All methods of the path, for the header `Allow`: Starlette's own names those of the path's first route only."""
    found = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted(set().union(*found)))


def _checked(endpoint: _Endpoint) -> _Endpoint:
    async def respond(request: Request) -> Response:
        check_no_page(request.scope)
        return await endpoint(request)

    return respond


async def _body(request: Request) -> dict[str, Any]:
    return await read_json(request.scope, request.receive, BODY_MAX_BYTES)


def _render_session(session: PlaybackSession) -> dict[str, Any]:
    terms = session.terms
    return {
        "sessionId": session.session_id,
        "channelArn": str(terms.channel),
        "streamId": terms.stream_id,
        "viewerId": terms.viewer_id,
        "viewerSessionVersion": terms.session_version if terms.viewer_id is not None else None,
        "maximumResolution": terms.maximum_resolution,
        "allowedOrigins": terms.origins,
        "strictOriginEnforcement": terms.strict_origin,
        "adsOptOut": terms.ads_opt_out,
        "mediaId": terms.media_id,
        "startedAt": rfc3339(int(session.started_at)),
        "lastSeenAt": rfc3339(int(session.last_seen)),
    }


def _render_fault(planned: PlannedFault) -> dict[str, Any]:
    fault = planned.fault
    return {
        "number": planned.number,
        "kind": fault.kind,
        "operation": fault.operation,
        "rate": fault.rate,
        "count": fault.count,
        "delaySeconds": fault.delay_seconds or None,
        "seed": fault.seed,
        "drawn": planned.drawn,
    }
