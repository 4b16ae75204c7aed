"""The management listener of the local IVS: what no real IVS has, on a loopback listener of its own.

`Management.routes` is all of it: the clock, streams, the log of events, faults.

Rules of the file
- Failures are RFC 9457 problem details, as the service's own are. What IVS itself would say no to keeps IVS's code.
- It knows no accounts: a channel's ARN says whose it is.
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
from tokensvc.http.problem_details import problem_details, make_problem, status_of
from tokensvc.local_ivs.api_model import status_of as status_in_ivs
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.faults import Faults, PlannedFault
from tokensvc.local_ivs.http import management_requests as asks
from tokensvc.local_ivs.http.event_log import EventLog
from tokensvc.local_ivs.model import ServiceModel
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.stream_store import StreamSource
from tokensvc.timestamps import rfc3339

BODY_MAX_BYTES = 64 * 1024
THREADS = 4
WHAT = "The management listener of tokensvc's local IVS. This is not AWS."
_T = TypeVar("_T")


class ManagementContext(NamedTuple):
    """What is managed here."""

    model: ServiceModel
    resources: ResourceStore
    clock: AdvanceableClock
    streams: StreamSource
    faults: Faults
    closing: threading.Event
    """Set when the listener is about to close: streams of events end then."""


class Management:
    """Every route of the listener."""

    def __init__(self, managed: ManagementContext) -> None:
        self._managed = managed
        self._events = EventLog(managed.resources, managed.closing)
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
        clock = self._managed.clock
        now = rfc3339(int(clock.now()))
        return JSONResponse({"what": WHAT, "now": now, "clockOffsetSeconds": clock.offset_seconds})

    async def _advance(self, request: Request) -> Response:
        ask = asks.read_as(asks.AdvanceClockRequest, await _body(request))
        await self._run(self._managed.clock.advance, ask.advance_seconds)
        return await self._show(request)

    async def _start(self, request: Request) -> Response:
        ask = asks.read_as(asks.StartStreamRequest, await _body(request))
        given = ask.ingest_configurations
        ingest = None if given is None else asks.read_ingest(self._managed.model, given)
        stream_id = await self._run(self._managed.streams.start, ask.channel_arn, ingest)
        return JSONResponse({"streamId": stream_id}, 201)

    async def _stop(self, request: Request) -> Response:
        ask = asks.read_as(asks.StreamRequest, await _body(request))
        await self._run(self._managed.streams.stop, ask.channel_arn)
        return Response(status_code=204)

    async def _set_health(self, request: Request) -> Response:
        ask = asks.read_as(asks.SetHealthRequest, await _body(request))
        await self._run(self._managed.streams.set_health, ask.channel_arn, ask.health)
        return Response(status_code=204)

    async def _set_ingest(self, request: Request) -> Response:
        ask = asks.read_as(asks.SetIngestRequest, await _body(request))
        ingest = asks.read_ingest(self._managed.model, ask.ingest_configurations)
        await self._run(self._managed.streams.set_ingest, ask.channel_arn, ingest)
        return Response(status_code=204)

    async def _set_viewers(self, request: Request) -> Response:
        ask = asks.read_as(asks.SetViewersRequest, await _body(request))
        await self._run(self._managed.streams.set_viewers, ask.channel_arn, ask.count)
        return Response(status_code=204)

    async def _show_faults(self, _: Request) -> Response:
        return JSONResponse({"faults": [_fault(planned) for planned in self._managed.faults.planned()]})

    async def _plan_fault(self, request: Request) -> Response:
        ask = asks.read_as(asks.PlanFaultRequest, await _body(request))
        return JSONResponse(_fault(self._managed.faults.plan(asks.read_fault(self._managed.model, ask))), 201)

    async def _clear_faults(self, _: Request) -> Response:
        self._managed.faults.clear()
        return Response(status_code=204)

    async def _run(self, step: Callable[..., _T], *given: Any) -> _T:
        return await anyio.to_thread.run_sync(step, *given, limiter=self._limiter)


def management_app(managed: ManagementContext) -> Starlette:
    """The application."""

    async def refuse(_: Request, failure: Exception) -> Response:
        match failure:
            case TokensvcError():
                status, told = status_of(failure), problem_details(failure)
            case IvsError():
                status = status_in_ivs(managed.model, failure.code)
                told = make_problem(status, failure.code, failure.message)
            case HTTPException():
                status, told = failure.status_code, make_problem(failure.status_code, "route_not_found", failure.detail)
            case _:
                raise failure
        return JSONResponse(told, status, media_type="application/problem+json")

    handlers: Any = dict.fromkeys((TokensvcError, IvsError, HTTPException), refuse)
    return Starlette(routes=Management(managed).routes(), exception_handlers=handlers)


async def _body(request: Request) -> dict[str, Any]:
    return await read_json(request.scope, request.receive, BODY_MAX_BYTES)


def _fault(planned: PlannedFault) -> dict[str, Any]:
    fault = planned.fault
    shown = {"number": planned.number, "kind": fault.kind, "operation": fault.operation, "rate": fault.rate}
    return {
        **shown,
        "count": fault.count,
        "delaySeconds": fault.delay_seconds or None,
        "seed": fault.seed,
        "drawn": planned.drawn,
    }
