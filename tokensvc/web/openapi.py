"""`GET /openapi.json`: the API description, generated from the models that validate requests and responses.

Invariants
- Schemas come from pydantic (`openapi_schemas.py`). The operations in `routes.py` add what the models cannot express:
  paths, scopes, what an operation does, and the codes that it can fail with, whose statuses and meanings are in
  `http/error_codes.py`.
- `docs/reference/openapi.json` is a stored copy. What it names stays: `docs/generator/api_changes.py` tells additions
  from changes that break clients.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Receive, Scope

from tokensvc import __version__
from tokensvc.callers.policy import VIEWER_APP_SCOPES
from tokensvc.http.error_codes import ERROR_CODES, RETRY_ADVICE, ErrorCode
from tokensvc.http.problem_details import JSON, Response, make_problem
from tokensvc.web.context import RequestContext
from tokensvc.web.examples import INVALID_FIELD
from tokensvc.web.openapi_schemas import query_parameters, reference, request_schemas, response_schemas
from tokensvc.web.operations import TAG_DESCRIPTIONS, Operation
from tokensvc.web.schemas import Problem

_DESCRIPTION = """\
Issues playback-authorization tokens for Amazon IVS private channels, rotates their keys and revokes viewers.

**Authentication.** Send `Authorization: Bearer tsk_…`. API keys are for backends: never give one to a browser or an
app, because anyone who has it can issue tokens for any viewer of the caller's channels. A viewer app sends its viewer's
own login token instead, a JWT of the issuer that its policy names; its playback tokens are for that viewer alone.

**Requests.** A body is one JSON object in UTF-8 without content coding. Unknown, repeated and mutually exclusive fields
are rejected by name.

**Responses.** Every response has an `X-Request-Id`. Errors are problem details (RFC 9457) with a stable `code`, and
never repeat the input. Every 429 and 503 has a `Retry-After` in seconds, which the problem repeats as
`retryAfterSeconds`. Later releases may add members to responses and codes to errors.

Any operation may also fail with 400 `malformed_request`, 405 `method_not_allowed`, 413 `request_too_large`, 431
`headers_too_large`, 500 `internal_error`, 501 `transfer_coding_not_supported` and 505 `http_version_not_supported`, and
any but a probe with 503 `overloaded`: nothing was done, and the request may be repeated."""
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_SERVERS = [
    {"url": "/", "description": "The server that serves this document"},
    {
        "url": "{url}",
        "description": "Your deployment",
        "variables": {
            "url": {
                "default": "http://127.0.0.1:8080",
                "description": "The URL of tokensvc, without a slash at its end",
            }
        },
    },
]
_HEADERS = {
    "RequestId": {
        "description": "The id of the request, which the service's log has, too",
        "schema": {"type": "string"},
        "required": True,
    },
    "RetryAfter": {
        "description": "After how many seconds to send the request again",
        "schema": {"type": "integer", "minimum": 0},
        "required": True,
    },
    "Challenge": {
        "description": "A challenge as in RFC 6750. With 401, `error` is missing if the request had no credentials; "
        "with 403, the header is there only for `insufficient_scope` and names the scope",
        "schema": {"type": "string"},
    },
}
_SECURITY_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `tsk_…`"},
    "viewerLogin": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A viewer's login token, of the issuer that a viewer app's policy names",
    },
}


class OpenApiRoute:
    """Serves the description of the given operations, rendered at the first request."""

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        self._operations = operations

    @cached_property
    def _body(self) -> bytes:
        return orjson.dumps(document(self._operations))

    async def openapi(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        return Response(200, self._body, (JSON,), "ok")


def document(operations: Sequence[Operation[Any]]) -> dict[str, Any]:
    """The OpenAPI 3.1 document that describes these operations."""
    schemas = request_schemas(o.request for o in operations if o.request is not None)
    schemas |= response_schemas([Problem, *(o.response for o in operations if o.response is not None)])
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        parameters, referred = _parameters(operation)
        schemas |= referred
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, parameters)
    codes = [code for code in ERROR_CODES if any(code in o.errors for o in operations)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tokensvc",
            "version": __version__,
            "summary": "Playback-authorization tokens for Amazon IVS private channels",
            "description": _DESCRIPTION,
        },
        "servers": _SERVERS,
        "tags": [
            {"name": tag, "description": meaning}
            for tag, meaning in TAG_DESCRIPTIONS.items()
            if any(o.tag is tag for o in operations)
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {"Problem": _other_problem()},
            "examples": {code: _problem_example(ERROR_CODES[code]) for code in codes},
            "headers": _HEADERS,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(o: Operation[Any], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": o.operation_id,
        "tags": [o.tag],
        "summary": o.summary,
        "description": o.description,
        "security": [],
    }
    if o.scope:
        operation["security"].append({"apiKey": []})
        if o.scope in VIEWER_APP_SCOPES:
            operation["security"].append({"viewerLogin": []})
        operation["description"] += f"\n\nRequires the scope `{o.scope}`."
    if parameters:
        operation["parameters"] = parameters
    if o.request is not None:
        operation["requestBody"] = {"required": True, "content": _json(o.request, o.example.request)}
    operation["responses"] = {
        str(o.status): _success(o),
        **{str(status): _problem(status, codes) for status, codes in codes_by_status(o.errors).items()},
        "default": {"$ref": "#/components/responses/Problem"},
    }
    return operation


def _success(o: Operation[Any]) -> dict[str, Any]:
    description = HTTPStatus(o.status).phrase
    if o.item_errors:
        meanings = (f"- `{code}`: {ERROR_CODES[code].meaning}" for code in ERROR_CODES if code in o.item_errors)
        description = "\n".join(
            [f"{description}. A single item can have a problem with one of these codes:\n", *meanings]
        )
    own = {name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in o.response_headers}
    response: dict[str, Any] = {"description": description, "headers": {**_headers("RequestId"), **own}}
    if o.response is not None:
        response["content"] = _json(o.response, o.example.response)
    elif o.other_response is not None:
        media_type, schema = o.other_response
        response["content"] = {media_type: {"schema": schema}}
    return response


def _problem(status: int, codes: Iterable[str]) -> dict[str, Any]:
    names = ["RequestId"]
    if status in (429, 503):
        names.append("RetryAfter")
    if status in (401, 403):
        names.append("Challenge")
    content = {
        "schema": reference(Problem),
        "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
    }
    return {
        "description": "\n".join(f"- `{code}`: {ERROR_CODES[code].meaning}" for code in codes),
        "headers": _headers(*names),
        "content": {"application/problem+json": content},
        "x-problem-codes": [*codes],
    }


def _other_problem() -> dict[str, Any]:
    return {
        "description": "An error that any operation can have, or one that a later release adds",
        "headers": _headers("RequestId"),
        "content": {"application/problem+json": {"schema": reference(Problem)}},
    }


def _problem_example(entry: ErrorCode) -> dict[str, Any]:
    value = make_problem(entry.status, entry.code, entry.meaning.replace("`", ""))
    if entry.code == "invalid_request":
        value |= {"detail": f"{INVALID_FIELD['field']}: {INVALID_FIELD['message']}", "errors": [INVALID_FIELD]}
    if entry.status in (429, 503):
        value["retryAfterSeconds"] = 1
    return {"summary": f"Retry: {entry.retry}", "description": RETRY_ADVICE[entry.retry], "value": value}


def _headers(*names: str) -> dict[str, Any]:
    fields = {"RequestId": "X-Request-Id", "RetryAfter": "Retry-After", "Challenge": "WWW-Authenticate"}
    return {fields[name]: {"$ref": f"#/components/headers/{name}"} for name in names}


def codes_by_status(codes: Collection[str]) -> dict[int, list[str]]:
    """The codes of each status, both in the order of the table of codes."""
    by_status: dict[int, list[str]] = {}
    for code, entry in ERROR_CODES.items():
        if code in codes:
            by_status.setdefault(entry.status, []).append(code)
    return by_status


def _json(model: type[BaseModel], example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": reference(model)}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _parameters(o: Operation[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The parameters of an operation, and the schemas that they refer to."""
    in_path = [
        _parameter(name, "path", {"type": "string", "description": "The id"}, o.example.path) | {"required": True}
        for name in _PATH_PARAMETER.findall(o.path)
    ]
    query, referred = ({}, {}) if o.query is None else query_parameters(o.query)
    in_query = [_parameter(name, "query", schema, o.example.query) for name, schema in query.items()]
    in_header = [
        _parameter(name, "header", {"type": "string", "description": meaning}, o.example.headers)
        for name, meaning in o.request_headers
    ]
    return in_path + in_query + in_header, referred


def _parameter(name: str, place: str, schema: Mapping[str, Any], examples: Mapping[str, str]) -> dict[str, Any]:
    own = {key: value for key, value in schema.items() if key != "description"}
    parameter = {"name": name, "in": place, "description": schema["description"], "schema": own}
    if name in examples:
        parameter["example"] = int(examples[name]) if own.get("type") == "integer" else examples[name]
    return parameter
