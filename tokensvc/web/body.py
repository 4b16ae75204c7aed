"""Reads a request's body, up to a limit."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.types import Receive, Scope

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
    scope: Scope, receive: Receive, limit_bytes: int, *, within_seconds: float | None = None
) -> dict[str, Any]:
    """The body as a JSON object. Raises RequestTooLarge, RequestTooSlow or UnreadableRequest."""
    return decoded(await read_whole(scope, receive, limit_bytes, within_seconds=within_seconds), limit_bytes)


async def read_whole(scope: Scope, receive: Receive, limit_bytes: int, *, within_seconds: float | None = None) -> bytes:
    """The whole body, waited for BODY_SECONDS unless another time is given.

    A body that is too long is refused before it is read, if its head says so. Raises RequestTooLarge, RequestTooSlow,
    or ClientGone when the client closed the connection.
    """
    declared = header(scope, b"content-length")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLarge(f"the body has {declared} bytes; this route takes at most {limit_bytes}")
    seconds = BODY_SECONDS if within_seconds is None else within_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _received(receive, limit_bytes)
    except TimeoutError:
        raise RequestTooSlow(f"the body did not come in within {seconds:g} seconds") from None


async def _received(receive: Receive, limit_bytes: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] != "http.disconnect" and not message.get("more_body") and len(body) <= limit_bytes:
        return body  # the usual case: one piece, never copied
    whole = bytearray(body)
    while message["type"] != "http.disconnect":
        if len(whole) > limit_bytes:
            raise RequestTooLarge(f"the body has more bytes than this route takes: at most {limit_bytes}")
        if not message.get("more_body"):
            return bytes(whole)
        message = await receive()
        whole += message.get("body", b"")
    raise ClientGone


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
