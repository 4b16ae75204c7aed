"""Checks the head of a request, beyond the grammar that llhttp enforces.

Invariants
- Two recipients of one connection (a proxy and this server) must agree on where each request ends and what it requests.
  A head that they could interpret differently is rejected, never repaired (RFC 9112, sections 3.2, 6.1 and 6.3).
- A rejected head is the last thing that is read from its connection.
- No message repeats what the client sent.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from tokensvc.http.problem_details import Response, problem_response

HTTP_1_1, HTTP_1_0 = b" HTTP/1.1", b" HTTP/1.0"
"""The end of a request line."""
HEAD_MAX_BYTES = 16 * 1024
"""For the request line and the headers together."""
ENCODED_BODY_MAX_BYTES = 2 * 1024 * 1024
"""For all that follows a head, chunk sizes, extensions and trailers included: more than any route's body."""
_LENGTH_MAX_DIGITS = 20
"""For a Content-Length: 64 bits. llhttp accepts any number of leading zeros; other parsers, and `int`, may not."""

NOT_HTTP = problem_response(400, "malformed_request", "The request is not valid HTTP/1.1.")
HEAD_TOO_LARGE = problem_response(
    431, "headers_too_large", f"The request line and the headers together must not exceed {HEAD_MAX_BYTES} bytes."
)
TOO_LARGE = problem_response(
    413, "request_too_large", f"A request body must not exceed {ENCODED_BODY_MAX_BYTES} bytes, including its framing."
)
_VERSION = problem_response(505, "http_version_not_supported", "This server supports HTTP/1.1 and HTTP/1.0 only.")
_TRANSFER_CODING = problem_response(
    501, "transfer_coding_not_supported", "The only supported Transfer-Encoding is chunked."
)
_TRANSFER_CODING_IN_1_0 = problem_response(
    400, "malformed_request", "HTTP/1.0 does not define Transfer-Encoding; use HTTP/1.1."
)
_HOST = problem_response(400, "malformed_request", "An HTTP/1.1 request must have a Host header with a valid host.")
_TARGET = problem_response(
    400, "malformed_request", "The request target must be a path beginning with /, or an absolute http URL."
)

SINGLE_HEADERS = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"idempotency-key",
        b"transfer-encoding",
    }
)
"""Headers that may appear only once: of two, one recipient uses the first and another the last."""
_REPEATED = {
    name: problem_response(400, "malformed_request", f"The header {name.decode().title()} may appear only once.")
    for name in SINGLE_HEADERS
}
_HOST_VALUE = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?[ \t]*")
"""RFC 9110, section 7.2: `uri-host [":" port]`, which may be empty."""


class InvalidHead(Exception):
    """The head is invalid; `response` is the one to send before the connection closes."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Head(NamedTuple):
    """The meaning of a valid head."""

    path: str
    """Percent-decoded."""
    raw_path: bytes
    query: bytes
    body_bytes: int | None
    """The length of the body; None when it is chunked."""
    expects_continue: bool
    is_coded: bool
    """The body may have a content coding, so its bytes may not be the JSON itself."""


def read_head(version: bytes, method: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> Head:
    """Check a head whose header names are in lower case; `version` ends its request line. Raises InvalidHead."""
    if version not in (HTTP_1_1, HTTP_1_0):
        raise InvalidHead(_VERSION)
    found: dict[bytes, bytes] = {}
    is_coded = False
    for name, value in headers:
        if name in SINGLE_HEADERS:
            if name in found:
                raise InvalidHead(_REPEATED[name])
            found[name] = value
        elif name == b"content-encoding":
            is_coded = True
    host = found.get(b"host")
    if not _HOST_VALUE.fullmatch(host) if host is not None else version == HTTP_1_1:
        raise InvalidHead(_HOST)
    body_bytes: int | None = 0
    if b"content-length" in found:
        if len(found[b"content-length"]) > _LENGTH_MAX_DIGITS:
            raise InvalidHead(NOT_HTTP)
        body_bytes = int(found[b"content-length"])  # llhttp accepts only digits, and no Transfer-Encoding
        if body_bytes > ENCODED_BODY_MAX_BYTES:
            raise InvalidHead(TOO_LARGE)
    elif b"transfer-encoding" in found:
        if version == HTTP_1_0:
            raise InvalidHead(_TRANSFER_CODING_IN_1_0)
        if found[b"transfer-encoding"].rstrip(b" \t").lower() != b"chunked":
            raise InvalidHead(_TRANSFER_CODING)
        body_bytes = None
    expects_continue = version == HTTP_1_1 and found.get(b"expect", b"").rstrip(b" \t").lower() == b"100-continue"
    raw_path, query = _target(method, target)
    path = raw_path.decode("ascii")
    return Head(unquote(path) if "%" in path else path, raw_path, query, body_bytes, expects_continue, is_coded)


def _target(method: str, target: bytes) -> tuple[bytes, bytes]:
    """The path and query of a request target (RFC 9112, section 3.2). Raises InvalidHead; CONNECT is not supported."""
    if method == "CONNECT":
        raise InvalidHead(_TARGET)
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserError:
        raise InvalidHead(_TARGET) from None
    path: bytes = url.path or b"/"
    if not path.startswith(b"/") and (path, method) != (b"*", "OPTIONS"):
        raise InvalidHead(_TARGET)
    return path, url.query or b""
