"""Reads a request's body, up to a limit."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope

from tokensvc.core.refusal import shown_name
from tokensvc.errors import FieldError, InvalidRequest, RequestTooLarge, RequestTooSlow, UnreadableRequest

BODY_SECONDS = 10
"""How long a body may take to come in; ours are small, and a connection that drips is somebody's trick or trouble."""


class ClientGone(Exception):
    """The client went away before its request was whole; nobody is there to answer."""


def header(scope: Scope, name: bytes) -> str:
    """A request header's first value, or ""."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


async def read_json(
    scope: Scope, receive: Receive, limit_bytes: int, *, within_seconds: float = BODY_SECONDS
) -> dict[str, Any]:
    """The body as a JSON object. Raises RequestTooLarge, RequestTooSlow or UnreadableRequest."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body") or message["type"] == "http.disconnect":
        try:
            async with asyncio.timeout(within_seconds):
                body = await _whole(message, scope, receive, limit_bytes)
        except TimeoutError:
            raise RequestTooSlow(f"the body did not come in within {within_seconds:g} seconds") from None
    return decoded(body, limit_bytes)


def decoded(body: bytes, limit_bytes: int) -> dict[str, Any]:
    """A whole body as a JSON object. Raises RequestTooLarge or UnreadableRequest."""
    if len(body) > limit_bytes:
        raise RequestTooLarge(f"the body has {len(body)} bytes; this route takes at most {limit_bytes}")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise UnreadableRequest(f"the body is not JSON: {problem.msg} at character {problem.pos}") from None
    if not isinstance(value, dict):
        raise UnreadableRequest("the body must be a JSON object")
    return value


def listed(body: dict[str, Any], name: str, most: int) -> list[object]:
    """The one field of a batch's body: its entries, up to so many. Raises InvalidRequest naming every bad field."""
    errors = [FieldError(shown_name(field), "is not a known field") for field in body if field != name]
    entries = body.get(name)
    if not isinstance(entries, list) or not 1 <= len(entries) <= most:
        errors.append(FieldError(name, f"must be a list of 1 to {most} {name}"))
    if errors or not isinstance(entries, list):
        raise InvalidRequest(errors)
    return entries


async def _whole(message: Message, scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """A body that did not come in one piece; a long one is refused by what its head says, before the rest is taken."""
    declared = header(scope, b"content-length")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLarge(f"the body has {declared} bytes; this route takes at most {limit_bytes}")
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit_bytes or not message.get("more_body"):
            return bytes(body)
        message = await receive()
