"""The management listener of the local IVS: control over clock, streams and faults, which the real IVS does not offer.

It is served on a loopback listener of its own; `Management.routes` lists everything.

Invariants
- Errors are RFC 9457 problem details, like the service's. An error of IVS itself keeps IVS's code.
- There are no accounts here: the ARN of a channel names its account.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tokensvc.errors import TokensvcError
from tokensvc.http.body import read_json
from tokensvc.http.problem_details import make_problem, problem_details, status_of
from tokensvc.local_ivs.api_model import status_of as ivs_status_of
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.faults import Faults, PlannedFault
from tokensvc.local_ivs.http import management_requests as requests
from tokensvc.local_ivs.http.event_log import EventLog
from tokensvc.local_ivs.live_streams import StreamSource
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.timestamps import rfc3339

BODY_MAX_BYTES = 64 * 1024
THREADS = 4
DESCRIPTION = "The management listener of tokensvc's local IVS. This is not AWS."
_T = TypeVar("_T")


class ManagementContext(NamedTuple):
    """What the listener works on."""

    model: ApiModel
    resources: ResourceStore
    clock: AdvanceableClock
    streams: StreamSource
    faults: Faults
    closing: threading.Event
    """Set before the listener is closed, which ends the event streams."""


class Management:
    """The routes of the listener."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context
        self._events = EventLog(context.resources, context.closing)
        self._limiter = anyio.CapacityLimiter(THREADS)

    def routes(self) -> list[Route]:
        return [
            Route("/", self._show, methods=["GET"]),
            Route("/clock", self._advance, methods=["POST"]),
            Route("/streams/start", self._start, methods=["POST"]),
            Route("/streams/stop", self._stop, methods=["POST"]),
            Route("/streams/health", self._set_health, methods=["POST"]),
            Route("/streams/ingest", self._set_ingest, methods=["POST"]),
            Route("/streams/viewers", self._set_viewers, methods=["POST"]),
            Route("/events", self._events.get, methods=["GET"]),
            Route("/faults", self._show_faults, methods=["GET"]),
            Route("/faults", self._plan_fault, methods=["POST"]),
            Route("/faults", self._clear_faults, methods=["DELETE"]),
        ]

    async def _show(self, _: Request) -> Response:
        clock = self._context.clock
        now = rfc3339(int(clock.now()))
        return JSONResponse({"description": DESCRIPTION, "now": now, "clockOffsetSeconds": clock.offset_seconds})

    async def _advance(self, request: Request) -> Response:
        body = requests.read_as(requests.AdvanceClockRequest, await _body(request))
        await self._run(self._context.clock.advance, body.advance_seconds)
        return await self._show(request)

    async def _start(self, request: Request) -> Response:
        body = requests.read_as(requests.StartStreamRequest, await _body(request))
        configurations = body.ingest_configurations
        ingest = None if configurations is None else requests.read_ingest(self._context.model, configurations)
        stream_id = await self._run(self._context.streams.start, body.channel_arn, ingest)
        return JSONResponse({"streamId": stream_id}, 201)

    async def _stop(self, request: Request) -> Response:
        body = requests.read_as(requests.StreamRequest, await _body(request))
        await self._run(self._context.streams.stop, body.channel_arn)
        return Response(status_code=204)

    async def _set_health(self, request: Request) -> Response:
        body = requests.read_as(requests.SetHealthRequest, await _body(request))
        await self._run(self._context.streams.set_health, body.channel_arn, body.health)
        return Response(status_code=204)

    async def _set_ingest(self, request: Request) -> Response:
        body = requests.read_as(requests.SetIngestRequest, await _body(request))
        ingest = requests.read_ingest(self._context.model, body.ingest_configurations)
        await self._run(self._context.streams.set_ingest, body.channel_arn, ingest)
        return Response(status_code=204)

    async def _set_viewers(self, request: Request) -> Response:
        body = requests.read_as(requests.SetViewersRequest, await _body(request))
        await self._run(self._context.streams.set_viewers, body.channel_arn, body.count)
        return Response(status_code=204)

    async def _show_faults(self, _: Request) -> Response:
        return JSONResponse({"faults": [_render_fault(planned) for planned in self._context.faults.planned()]})

    async def _plan_fault(self, request: Request) -> Response:
        body = requests.read_as(requests.PlanFaultRequest, await _body(request))
        return JSONResponse(
            _render_fault(self._context.faults.plan(requests.read_fault(self._context.model, body))), 201
        )

    async def _clear_faults(self, _: Request) -> Response:
        self._context.faults.clear()
        return Response(status_code=204)

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


def management_app(context: ManagementContext) -> Starlette:
    """The ASGI application of the management listener."""

    async def render_error(_: Request, failure: Exception) -> Response:
        match failure:
            case TokensvcError():
                status, body = status_of(failure), problem_details(failure)
            case IvsError():
                status = ivs_status_of(context.model, failure.code)
                body = make_problem(status, failure.code, failure.message)
            case HTTPException():
                code = "method_not_allowed" if failure.status_code == 405 else "route_not_found"
                status, body = failure.status_code, make_problem(failure.status_code, code, failure.detail)
            case _:
                raise failure
        return JSONResponse(body, status, media_type="application/problem+json")

    handlers: Any = dict.fromkeys((TokensvcError, IvsError, HTTPException), render_error)
    return Starlette(routes=Management(context).routes(), exception_handlers=handlers)


async def _body(request: Request) -> dict[str, Any]:
    return await read_json(request.scope, request.receive, BODY_MAX_BYTES)


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
