"""`GET /openapi.json`: the interface, written from the models that it is made of.

Invariants
- Schemas come from pydantic; the operations of `routes.py` add what they cannot know: paths, statuses and who may call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import Receive, Scope

from tokensvc import __version__
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.context import RequestContext
from tokensvc.web.operations import Operation
from tokensvc.web.schemas import Problem

_REFUSALS = {
    400: "The body is not a JSON object",
    401: "No valid API key",
    403: "The caller may not ask for this",
    404: "What was named does not exist; of a channel, IVS says so",
    408: "The body came in too slowly",
    409: "The deployment's rotation policy cannot hold; the message has the arithmetic",
    413: "The body is too large",
    415: "The body has a content coding, or is not JSON and of another media type",
    422: "One or more fields break a rule; `errors` names each",
    503: "This worker cannot answer now; another, or the same a little later, can",
}


_NAMED = re.compile(r"\{(\w+)\}")


class OpenApiRoute:
    """Renders the page once."""

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        self._body = orjson.dumps(document(operations))

    async def openapi(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        return Response(200, self._body, (JSON,), "ok")


def document(operations: Sequence[Operation[Any]]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    models: list[type[BaseModel]] = [Problem]
    models += [m for o in operations for m in (o.request, o.response, o.query) if m is not None]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, definitions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tokensvc",
            "version": __version__,
            "description": "Playback-authorization tokens for Amazon IVS private channels",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "`tsk_…`"}},
        },
    }


def _operation(o: Operation[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {str(o.status): {"description": o.summary}}
    if o.response is not None:
        answers[str(o.status)]["content"] = {"application/json": {"schema": _ref(o.response)}}
    for status in o.errors:
        content = {"application/problem+json": {"schema": _ref(Problem)}}
        answers[str(status)] = {"description": _REFUSALS[status], "content": content}
    operation: dict[str, Any] = {"summary": o.summary, "responses": answers}
    if parameters := _parameters(o, definitions):
        operation["parameters"] = parameters
    if o.request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(o.request)}}}
    if o.scope:
        operation["security"] = [{"apiKey": []}]
        operation["description"] = f"Needs the scope `{o.scope}`."
    return operation


def _parameters(o: Operation[Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    named = [{"name": name, "in": "path", "required": True, "schema": text} for name in _NAMED.findall(o.path)]
    asked = definitions["$defs"][o.query.__name__]["properties"] if o.query is not None else {}
    named += [{"name": name, "in": "query", "schema": _given(schema)} for name, schema in asked.items()]
    return named + [{"name": name, "in": "header", "schema": text} for name in o.request_headers]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """What a parameter is when it is given: a query knows no null."""
    one_of = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    plain = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return plain | one_of[0] if one_of else plain


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
