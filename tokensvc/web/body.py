"""Reads a request's body, up to a limit."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.types import Receive, Scope

from tokensvc.errors import RequestTooLarge, UnreadableRequest


class ClientGone(Exception):
    """The client went away before its request was whole; nobody is there to answer."""


def header(scope: Scope, name: bytes) -> str:
    """A request header's first value, or ""."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


async def read_json(scope: Scope, receive: Receive, limit_bytes: int) -> dict[str, Any]:
    """The body as a JSON object. Raises RequestTooLarge or UnreadableRequest."""
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise RequestTooLarge(f"the body has {declared} bytes; this route takes at most {limit_bytes}")
    try:
        value = orjson.loads(await _read(receive, limit_bytes))
    except orjson.JSONDecodeError as problem:
        raise UnreadableRequest(f"the body is not JSON: {problem.msg} at character {problem.pos}") from None
    if not isinstance(value, dict):
        raise UnreadableRequest("the body must be a JSON object")
    return value


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise RequestTooLarge(f"the body is longer than the {limit_bytes} bytes that this route takes")
        if not message.get("more_body"):
            return bytes(body)
