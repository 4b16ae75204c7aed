"""`GET /openapi.json`: the API description, generated from the models that validate requests and responses.

Invariants
- Schemas come from pydantic. The operations in `routes.py` add what the models cannot express: paths, scopes, what an
  operation does, and the codes that it can fail with, whose statuses and meanings are in `http/error_codes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.types import Receive, Scope

from tokensvc import __version__
from tokensvc.http.error_codes import ERROR_CODES
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.context import RequestContext
from tokensvc.web.operations import Operation
from tokensvc.web.schemas import Problem

_DESCRIPTION = """\
Issues playback-authorization tokens for Amazon IVS private channels, rotates their keys and revokes viewers.

**Authentication.** Send `Authorization: Bearer tsk_…`. API keys are for backends: never give one to a browser or an
app, because whoever has it can issue tokens for any viewer of the caller's channels.

**Requests.** A body is one JSON object in UTF-8 without content coding. Unknown, repeated and mutually exclusive fields
are rejected by name.

**Responses.** Every response has an `X-Request-Id`. Errors are problem details (RFC 9457) with a stable `code`, and
never repeat the input. Every 429 and 503 has a `Retry-After` in seconds, which the problem repeats as
`retryAfterSeconds`. Later releases may add members to responses and codes to errors.

Any operation may also fail with 400 `malformed_request`, 405 `method_not_allowed`, 413 `request_too_large`, 431
`headers_too_large`, 500 `internal_error`, 501 `transfer_coding_not_supported` and 505 `http_version_not_supported`."""
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")


class OpenApiRoute:
    """Serves the description of the given operations, rendered once."""

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        self._body = orjson.dumps(document(operations))

    async def openapi(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        return Response(200, self._body, (JSON,), "ok")


def document(operations: Sequence[Operation[Any]]) -> dict[str, Any]:
    """The OpenAPI 3.1 document that describes these operations."""
    received = [model for o in operations for model in (o.request, o.query) if model is not None]
    sent: list[type[BaseModel]] = [Problem, *(o.response for o in operations if o.response is not None)]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in received),
        *((model, "serialization") for model in sent),
    ]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, definitions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tokensvc",
            "version": __version__,
            "description": _DESCRIPTION,
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `tsk_…`"}},
        },
    }


def _operation(o: Operation[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(o.status).phrase}
    if o.response_headers:
        success["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in o.response_headers
        }
    if o.response is not None:
        success["content"] = _json(o.response, o.example.response)
    responses = {str(o.status): success}
    for status, codes in codes_by_status(o.errors).items():
        content = {"application/problem+json": {"schema": _ref(Problem)}}
        meanings = "\n".join(f"- `{code}`: {ERROR_CODES[code].meaning}" for code in codes)
        responses[str(status)] = {"description": meanings, "content": content}
    operation: dict[str, Any] = {"summary": o.summary, "description": o.description, "responses": responses}
    if parameters := _parameters(o, definitions):
        operation["parameters"] = parameters
    if o.request is not None:
        operation["requestBody"] = {"required": True, "content": _json(o.request, o.example.request)}
    if o.scope:
        operation["security"] = [{"apiKey": []}]
        operation["description"] += f"\n\nRequires the scope `{o.scope}`."
    return operation


def codes_by_status(codes: Collection[str]) -> dict[int, list[str]]:
    """The codes of each status, both in the order of the table of codes."""
    by_status: dict[int, list[str]] = {}
    for code, entry in ERROR_CODES.items():
        if code in codes:
            by_status.setdefault(entry.status, []).append(code)
    return by_status


def _json(model: type[BaseModel], example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _ref(model)}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _parameters(o: Operation[Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in _PATH_PARAMETER.findall(o.path)
    ]
    query = definitions["$defs"][o.query.__name__]["properties"] if o.query is not None else {}
    parameters += [{"name": name, "in": "query", "schema": _without_null(schema)} for name, schema in query.items()]
    return parameters + [
        {"name": name, "in": "header", "schema": text, "description": meaning} for name, meaning in o.request_headers
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the alternative null, which a query string cannot express."""
    alternatives = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return others | alternatives[0] if alternatives else others


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
