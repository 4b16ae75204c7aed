"""The README's table of the management listener matches its routes and their fields."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

import tokensvc
from tests.local_ivs.http.local_ivs_server import local_ivs_server
from tokensvc.local_ivs.faults import FaultKind
from tokensvc.local_ivs.http import management_requests as requests
from tokensvc.local_ivs.streams.events import MAX_STORED_EVENTS

README = (Path(tokensvc.__file__).parent.parent / "README.md").read_text("utf-8")
SECTION = README.partition("### The management listener\n")[2].partition("\n### ")[0]
BODIES: dict[str, type[BaseModel]] = {
    "POST /clock": requests.AdvanceClockRequest,
    "POST /streams/start": requests.StartStreamRequest,
    "POST /streams/stop": requests.StreamRequest,
    "POST /streams/health": requests.SetHealthRequest,
    "POST /streams/ingest": requests.SetIngestRequest,
    "POST /streams/viewers": requests.SetViewersRequest,
    "POST /faults": requests.PlanFaultRequest,
}


def test_the_readme_lists_every_route_with_its_fields() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+ /\S*)` \|(.*?)\|", SECTION, re.MULTILINE))
    with local_ivs_server() as server:
        routes = server.components.management.routes  # type: ignore[attr-defined]  # a Starlette
    assert set(rows) == {f"{method} {route.path}" for route in routes for method in route.methods - {"HEAD"}}
    for request, body in rows.items():
        model = BODIES.get(request)
        fields = model.model_fields.values() if model else ()
        expected = [f"`{field.alias}`{'' if field.is_required() else '?'}" for field in fields]
        assert body.strip() == ", ".join(expected), request


def test_the_readme_lists_every_kind_of_fault_and_the_size_of_the_log() -> None:
    for kind in FaultKind:
        assert f"`{kind}`" in SECTION
    assert f"newest {MAX_STORED_EVENTS} are retained" in SECTION
