"""Reads a request's body, up to a limit.

Invariants
- A body is one JSON object in UTF-8 in which no name appears twice.
- It is parsed as JSON whatever its Content-Type: `curl -d` declares a form by default. The type is only used to explain
  why a body is not JSON.
- A body with a content coding is rejected, never decoded. The fast path (`web/fast_path.py`) never gets one.
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
"""How long a body may take to arrive. Bodies are small, so a slower client is broken or malicious."""
_READ_AS_JSON = re.compile(r"|[^/]+/json|[^/]+/[^/]+\+json|application/x-www-form-urlencoded", re.IGNORECASE)
"""Media types whose body is meant to be JSON, so that a failure is a syntax error; curl declares the last one."""


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete."""


def header(scope: Scope, name: bytes) -> str:
    """The first value of a request header, or ""."""
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
        raise UnsupportedMediaType("the body has a content coding; send it uncompressed, without Content-Encoding")
    return decode_json(scope, await read_body(scope, receive, limit_bytes, within_seconds=within_seconds), limit_bytes)


async def read_body(scope: Scope, receive: Receive, limit_bytes: int, *, within_seconds: float | None = None) -> bytes:
    """Read the whole body within BODY_TIMEOUT_SECONDS or the given time.

    A body whose Content-Length is too large is rejected before it is read. Raises RequestTooLarge, RequestTimeout, or
    ClientDisconnected when the client closed the connection.
    """
    declared = header(scope, b"content-length")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLarge(f"the body has {declared} bytes; this route accepts at most {limit_bytes}")
    seconds = BODY_TIMEOUT_SECONDS if within_seconds is None else within_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _received(receive, limit_bytes)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {seconds:g} seconds") from None


async def _received(receive: Receive, limit_bytes: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] != "http.disconnect" and not message.get("more_body") and len(body) <= limit_bytes:
        return body  # the usual case: one chunk, never copied
    whole = bytearray(body)
    while message["type"] != "http.disconnect":
        if len(whole) > limit_bytes:
            raise RequestTooLarge(f"the body is too large; this route accepts at most {limit_bytes} bytes")
        if not message.get("more_body"):
            return bytes(whole)
        message = await receive()
        whole += message.get("body", b"")
    raise ClientDisconnected


def has_content_coding(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the body is compressed or otherwise encoded (RFC 9110, section 8.4)."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return True
    return False


def decode_json(scope: Scope, body: bytes, limit_bytes: int) -> dict[str, Any]:
    """Parse a whole body as a JSON object. Raises RequestTooLarge, UnsupportedMediaType, MalformedRequest, or
    InvalidRequest naming each field that appears twice."""
    if len(body) > limit_bytes:
        raise RequestTooLarge(f"the body has {len(body)} bytes; this route accepts at most {limit_bytes}")
    try:
        return json_object(body)
    except MalformedRequest:
        if not _READ_AS_JSON.fullmatch(header(scope, b"content-type").partition(";")[0].strip()):
            raise UnsupportedMediaType(
                "the body is not JSON and its Content-Type is not a JSON type; send JSON"
            ) from None
        raise
