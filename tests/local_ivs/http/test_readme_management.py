"""The README's table of the management listener is true: its routes, and the fields that each takes."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

import tokensvc
from tests.local_ivs.http.own_servers import staged
from tokensvc.local_ivs.faults import FaultKind
from tokensvc.local_ivs.http import management_requests as asks
from tokensvc.local_ivs.streams.events import MAX_STORED_EVENTS

README = (Path(tokensvc.__file__).parent.parent / "README.md").read_text("utf-8")
SECTION = README.partition("### The management listener\n")[2].partition("\n### ")[0]
BODIES: dict[str, type[BaseModel]] = {
    "POST /clock": asks.AdvanceClockRequest,
    "POST /streams/start": asks.StartStreamRequest,
    "POST /streams/stop": asks.StreamRequest,
    "POST /streams/health": asks.SetHealthRequest,
    "POST /streams/ingest": asks.SetIngestRequest,
    "POST /streams/viewers": asks.SetViewersRequest,
    "POST /faults": asks.PlanFaultRequest,
}


def test_every_route_is_there_with_its_fields() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+ /\S*)` \|(.*?)\|", SECTION, re.MULTILINE))
    with staged() as stage:
        routes = stage.parts.management.routes  # type: ignore[attr-defined]  # it is a Starlette
    assert set(rows) == {f"{method} {route.path}" for route in routes for method in route.methods - {"HEAD"}}
    for request, body in rows.items():
        model = BODIES.get(request)
        fields = model.model_fields.values() if model else ()
        expected = [f"`{field.alias}`{'' if field.is_required() else '?'}" for field in fields]
        assert body.strip() == ", ".join(expected), request


def test_every_kind_of_fault_is_there_and_the_log_is_as_long_as_it_says() -> None:
    for kind in FaultKind:
        assert f"`{kind}`" in SECTION
    assert f"newest {MAX_STORED_EVENTS} are kept" in SECTION
