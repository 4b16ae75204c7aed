"""Connections to a running service, for commands that ask one."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

from tokensvc.errors import FieldError, InvalidRequest


def connect(url: str, timeout_seconds: float) -> tuple[HTTPConnection, str]:
    """A connection to the host of the option `--url`, which opens with its first request, and the path that precedes
    those of the routes. Raises InvalidRequest for an invalid URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        raise InvalidRequest([FieldError("--url", "must be the service's URL, such as http://127.0.0.1:8080")])
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidRequest([FieldError("--url", "must be ASCII without spaces")])
    try:
        host.encode("idna")  # as the socket will do
    except UnicodeError:
        rule = "must name a host whose parts between dots have 1 to 63 characters"
        raise InvalidRequest([FieldError("--url", rule)]) from None
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(host, port, timeout=timeout_seconds), parts.path.rstrip("/")
