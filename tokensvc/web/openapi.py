"""`GET /openapi.json`: the interface, written from the models that it is made of.

Rules of the file
- Schemas come from pydantic; OPERATIONS adds what they cannot know: paths, statuses and who may call.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import Receive, Scope

from tokensvc import __version__
from tokensvc.core.ask import Ask
from tokensvc.web.answers import Alive, BatchAnswer, BatchAsk, JwkSet, Problem, Ready, StatusAnswer, TokenAnswer
from tokensvc.web.exchange import Exchange
from tokensvc.web.failures import JSON, Answer
from tokensvc.web.key_models import CompromiseAsk, Compromised, KeyDetail, KeyPage, RotateAsk, ShownRotation
from tokensvc.web.paging import MAX_RESULTS, MOST_RESULTS


class _Operation(NamedTuple):
    method: str
    summary: str
    takes: type[BaseModel] | None
    status: int
    gives: type[BaseModel] | None
    refusals: tuple[int, ...]
    scope: str = ""
    is_list: bool = False
    """Whether it takes `maxResults` and `nextToken`."""


_REFUSED_WHOLE = (400, 401, 403, 408, 413, 422, 503)
_REFUSED_READ = (401, 403, 422, 503)

OPERATIONS: dict[str, _Operation] = {
    "/v1/tokens": _Operation("post", "Ask for a token", Ask, 201, TokenAnswer, (*_REFUSED_WHOLE, 404), "tokens:issue"),
    "/v1/tokens/batch": _Operation(
        "post",
        "Ask for up to 500 tokens",
        BatchAsk,
        200,
        BatchAnswer,
        _REFUSED_WHOLE,
        "tokens:issue",
    ),
    "/v1/status": _Operation("get", "How the deployment does", None, 200, StatusAnswer, (401, 403, 503), "keys:read"),
    "/v1/keys": _Operation("get", "The key pairs", None, 200, KeyPage, _REFUSED_READ, "keys:read", is_list=True),
    "/v1/keys/rotate": _Operation(
        "post", "Ask for another key to sign", RotateAsk, 202, ShownRotation, (*_REFUSED_WHOLE, 409), "keys:admin"
    ),
    "/v1/keys/rotations/{id}": _Operation(
        "get", "How far a rotation is", None, 200, ShownRotation, (*_REFUSED_READ, 404), "keys:read"
    ),
    "/v1/keys/{id}": _Operation(
        "get",
        "A key pair, its history, and who has not heard",
        None,
        200,
        KeyDetail,
        (*_REFUSED_READ, 404),
        "keys:read",
    ),
    "/v1/keys/{id}/compromise": _Operation(
        "post",
        "Never sign with a key again, and delete its pairs",
        CompromiseAsk,
        202,
        Compromised,
        (*_REFUSED_WHOLE, 404),
        "keys:admin",
    ),
    "/livez": _Operation("get", "Does the process answer", None, 200, Alive, ()),
    "/readyz": _Operation("get", "Can this worker sign now", None, 200, Ready, (503,)),
    "/.well-known/jwks.json": _Operation("get", "The public halves that tokens verify with", None, 200, JwkSet, ()),
    "/openapi.json": _Operation("get", "This page", None, 200, None, ()),
    "/metrics": _Operation("get", "Figures in Prometheus's text format", None, 200, None, ()),
}
"""Every route of the service, by path."""

_REFUSALS = {
    400: "The body is not a JSON object",
    401: "No valid API key",
    403: "The caller may not ask for this",
    404: "What was named does not exist; of a channel, IVS says so",
    408: "The body came in too slowly",
    409: "The deployment's rotation policy cannot hold; the message has the arithmetic",
    413: "The body is too large",
    422: "One or more fields break a rule; `errors` names each",
    503: "This worker cannot sign now",
}


_NAMED = re.compile(r"\{(\w+)\}")


class OpenApi:
    """Renders the page once."""

    def __init__(self, paths: frozenset[str]) -> None:
        self._body = orjson.dumps(document(paths))

    async def openapi(self, _scope: Scope, _receive: Receive, _exchange: Exchange) -> Answer:
        return Answer(200, self._body, (JSON,), "ok")


def document(paths: frozenset[str]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of those paths."""
    models: list[type[BaseModel]] = [Problem]
    models += [model for o in OPERATIONS.values() for model in (o.takes, o.gives) if model is not None]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tokensvc",
            "version": __version__,
            "description": "Playback-authorization tokens for Amazon IVS private channels",
        },
        "paths": {path: {o.method: _operation(path, o)} for path, o in OPERATIONS.items() if path in paths},
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "`tsk_…`"}},
        },
    }


def _operation(path: str, o: _Operation) -> dict[str, Any]:
    answers: dict[str, Any] = {str(o.status): {"description": o.summary}}
    if o.gives is not None:
        answers[str(o.status)]["content"] = {"application/json": {"schema": _ref(o.gives)}}
    for status in o.refusals:
        content = {"application/problem+json": {"schema": _ref(Problem)}}
        answers[str(status)] = {"description": _REFUSALS[status], "content": content}
    operation: dict[str, Any] = {"summary": o.summary, "responses": answers}
    if parameters := _parameters(path, o):
        operation["parameters"] = parameters
    if o.takes is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(o.takes)}}}
    if o.scope:
        operation["security"] = [{"apiKey": []}]
        operation["description"] = f"Needs the scope `{o.scope}`."
    return operation


def _parameters(path: str, o: _Operation) -> list[dict[str, Any]]:
    named = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in _NAMED.findall(path)]
    count = {"type": "integer", "minimum": 1, "maximum": MOST_RESULTS, "default": MAX_RESULTS}
    paged = [
        {"name": "maxResults", "in": "query", "description": "How many at most", "schema": count},
        {"name": "nextToken", "in": "query", "description": "Of the page before", "schema": {"type": "string"}},
    ]
    return named + paged if o.is_list else named


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
