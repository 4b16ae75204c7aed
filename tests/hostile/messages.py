"""Builds the requests that the tests send, as bytes.

Invariants
- Every request is complete and valid; a test that needs a broken request breaks it itself, visibly.
- Each token request has its own viewer id, so that a misdirected response is recognised.
"""

from __future__ import annotations

import itertools
import json

HOST = b"Host: tokens.example"
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A viewer id or other name that no other request of this run uses."""
    return f"{prefix}-{next(_numbers)}"


def head(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((line, HOST, *headers, b"", b""))


def bearer(key: str) -> bytes:
    return b"Authorization: Bearer " + key.encode()


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """A POST whose body is framed by Content-Length."""
    length = b"Content-Length: %d" % len(body)
    return head(b"POST %b HTTP/1.1" % path.encode(), *headers, length) + body


def post_chunked(path: str, body: bytes, *headers: bytes, trailers: tuple[bytes, ...] = (), size: int = 20) -> bytes:
    """A POST whose body is chunked."""
    request_head = head(b"POST %b HTTP/1.1" % path.encode(), *headers, b"Transfer-Encoding: chunked")
    return request_head + chunked(body, trailers, size)


def chunked(body: bytes, trailers: tuple[bytes, ...] = (), size: int = 20) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


def token_body(channel: str, viewer: str) -> bytes:
    return json.dumps({"channelArn": channel, "viewerId": viewer}).encode()


def token(channel: str, viewer: str, key: str, *headers: bytes) -> bytes:
    """A request for one token, which takes the fast path when it arrives as a whole."""
    return post("/v1/tokens", token_body(channel, viewer), bearer(key), *headers)


def batch(channel: str, viewer: str, key: str, *headers: bytes) -> bytes:
    """A request for a batch of one token, which is handled in a separate task."""
    body = json.dumps({"requests": [{"channelArn": channel, "viewerId": viewer}]}).encode()
    return post("/v1/tokens/batch", body, bearer(key), *headers)


def revocation(channel: str, viewer: str, key: str, *headers: bytes) -> bytes:
    return post("/v1/revocations", token_body(channel, viewer), bearer(key), *headers)


def get(path: str, *headers: bytes) -> bytes:
    return head(b"GET %b HTTP/1.1" % path.encode(), *headers)


LIVE_LINE = b"GET /livez HTTP/1.1"
SENTINEL = get("/no-such-route")
"""Sent after another request; it gets a 404 if, and only if, the connection is still open."""
