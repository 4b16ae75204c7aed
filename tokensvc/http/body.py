"""Reads a request's body, up to a limit.

Invariants
- A body is one JSON object in UTF-8, in which no name appears twice.
- It is read as JSON whatever its Content-Type says: `curl -d` declares a form unless it is told otherwise. The type is
  looked at only to explain why a body is not JSON.
- A body with a content coding is refused, never decoded. The fast path (`fast_path.py`) is offered none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from starlette.types import Receive, Scope

from tokensvc.errors import MalformedRequest, RequestTimeout, RequestTooLarge, UnsupportedMediaType
from tokensvc.json_objects import json_object

BODY_TIMEOUT_SECONDS = 10
"""How long a body may take to come in; ours are small, and a connection that drips is somebody's trick or trouble."""
_READ_AS_JSON = re.compile(r"|[^/]+/json|[^/]+/[^/]+\+json|application/x-www-form-urlencoded", re.IGNORECASE)
"""Media types of bodies that were meant as JSON, so that what is wrong is their syntax; curl declares the last one."""


class ClientDisconnected(Exception):
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
    """The body as a JSON object. Raises RequestTooLarge, RequestTimeout, UnsupportedMediaType, MalformedRequest or
    InvalidRequest."""
    if has_content_coding(scope["headers"]):
        raise UnsupportedMediaType("the body has a content coding; send it as it is, without Content-Encoding")
    return decode_json(scope, await read_body(scope, receive, limit_bytes, within_seconds=within_seconds), limit_bytes)


async def read_body(scope: Scope, receive: Receive, limit_bytes: int, *, within_seconds: float | None = None) -> bytes:
    """The whole body, waited for BODY_SECONDS unless another time is given.

    A body that is too long is refused before it is read, if its head says so. Raises RequestTooLarge, RequestTimeout,
    or ClientGone when the client closed the connection.
    """
    declared = header(scope, b"content-length")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLarge(f"the body has {declared} bytes; this route takes at most {limit_bytes}")
    seconds = BODY_TIMEOUT_SECONDS if within_seconds is None else within_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _received(receive, limit_bytes)
    except TimeoutError:
        raise RequestTimeout(f"the body did not come in within {seconds:g} seconds") from None


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
    raise ClientDisconnected


def has_content_coding(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the body is compressed, or coded in another way, before it is JSON (RFC 9110, section 8.4)."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return True
    return False


def decode_json(scope: Scope, body: bytes, limit_bytes: int) -> dict[str, Any]:
    """A whole body as a JSON object. Raises RequestTooLarge, UnsupportedMediaType, MalformedRequest or InvalidRequest
    naming each field that is given twice."""
    if len(body) > limit_bytes:
        raise RequestTooLarge(f"the body has {len(body)} bytes; this route takes at most {limit_bytes}")
    try:
        return json_object(body)
    except MalformedRequest:
        if not _READ_AS_JSON.fullmatch(header(scope, b"content-type").partition(";")[0].strip()):
            raise UnsupportedMediaType("the body is not JSON, and its Content-Type is another; send JSON") from None
        raise
