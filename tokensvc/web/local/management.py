"""The management listener of the local IVS: what no real IVS has, on a loopback listener of its own.

`GET /` says what this is and what time it is there; `POST /clock {"advanceSeconds": n}` puts its clock forward.
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tokensvc.core.instant import rfc3339
from tokensvc.core.refusal import shown_name
from tokensvc.errors import FieldError, InvalidRequest, TokensvcError
from tokensvc.ivs.clock import AdvanceableClock
from tokensvc.web.body import read_json
from tokensvc.web.failures import problem, status_of

BODY_MAX_BYTES = 64 * 1024
MAX_ADVANCE_SECONDS = 366 * 24 * 3600
"""Enough for everything that IVS remembers; more is surely a slip."""
WHAT = "The management listener of tokensvc's local IVS. This is not AWS."


def management(clock: AdvanceableClock) -> Starlette:
    """The application."""

    def state() -> dict[str, Any]:
        return {"what": WHAT, "now": rfc3339(int(clock.now())), "clockOffsetSeconds": clock.offset_seconds}

    async def show(_: Request) -> JSONResponse:
        return JSONResponse(state())

    async def advance(request: Request) -> JSONResponse:
        body = await read_json(request.scope, request.receive, BODY_MAX_BYTES)
        clock.advance(_advance_seconds(body))
        return JSONResponse(state())

    async def refuse(_: Request, failure: Exception) -> JSONResponse:
        if not isinstance(failure, TokensvcError):
            raise failure
        return JSONResponse(problem(failure), status_of(failure), media_type="application/problem+json")

    return Starlette(
        routes=[Route("/", show), Route("/clock", advance, methods=["POST"])],
        exception_handlers={TokensvcError: refuse},
    )


def _advance_seconds(body: dict[str, Any]) -> float:
    errors = [FieldError(shown_name(name), "is not known here") for name in body if name != "advanceSeconds"]
    seconds = body.get("advanceSeconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_ADVANCE_SECONDS:
        rule = f"must be a positive number of seconds, at most {MAX_ADVANCE_SECONDS}"
        errors.append(FieldError("advanceSeconds", rule))
    if errors or not isinstance(seconds, int | float):
        raise InvalidRequest(errors)
    return seconds
