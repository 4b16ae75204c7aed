"""`GET /openapi.json`: the API description, generated from the models that validate requests and responses.

Invariants
- Schemas come from pydantic. The operations in `routes.py` add what the models cannot express: paths, statuses, scopes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
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

_ERROR_DESCRIPTIONS = {
    400: "The body is not a JSON object",
    401: "The API key is missing or invalid",
    403: "The caller is not allowed to do this",
    404: "The resource does not exist; for a channel, according to IVS",
    408: "The body was not received in time",
    409: "The deployment's rotation policy is not feasible; `detail` shows the calculation",
    413: "The body is too large",
    415: "The body has a content coding, or is not JSON and declares another media type",
    422: "One or more fields are invalid; `errors` names each",
    503: "This worker cannot respond now; retry, or use another worker",
}


_PATH_PARAMETER = re.compile(r"\{(\w+)\}")


class OpenApiRoute:
    """Serves the description of the given operations, rendered once."""

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        self._body = orjson.dumps(document(operations))

    async def openapi(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        return Response(200, self._body, (JSON,), "ok")


def document(operations: Sequence[Operation[Any]]) -> dict[str, Any]:
    """The OpenAPI 3.1 document that describes these operations."""
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
            "description": "Issues playback authorization tokens for Amazon IVS private channels, rotates their keys "
            "and revokes viewers.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `tsk_…`"}},
        },
    }


def _operation(o: Operation[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {str(o.status): {"description": HTTPStatus(o.status).phrase}}
    if o.response is not None:
        responses[str(o.status)]["content"] = {"application/json": {"schema": _ref(o.response)}}
    for status in o.errors:
        content = {"application/problem+json": {"schema": _ref(Problem)}}
        responses[str(status)] = {"description": _ERROR_DESCRIPTIONS[status], "content": content}
    operation: dict[str, Any] = {"summary": o.summary, "responses": responses}
    if parameters := _parameters(o, definitions):
        operation["parameters"] = parameters
    if o.request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(o.request)}}}
    if o.scope:
        operation["security"] = [{"apiKey": []}]
        operation["description"] = f"Requires the scope `{o.scope}`."
    return operation


def _parameters(o: Operation[Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in _PATH_PARAMETER.findall(o.path)
    ]
    query = definitions["$defs"][o.query.__name__]["properties"] if o.query is not None else {}
    parameters += [{"name": name, "in": "query", "schema": _without_null(schema)} for name, schema in query.items()]
    return parameters + [{"name": name, "in": "header", "schema": text} for name in o.request_headers]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the alternative null, which a query string cannot express."""
    alternatives = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return others | alternatives[0] if alternatives else others


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
