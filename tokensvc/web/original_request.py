"""The request that a proxy asks about: its method, path and query, as the proxy's client sent it.

Invariants
- Three forms are read, of which a request has exactly one: the header X-Original-URI (nginx), the header
  X-Forwarded-Uri (Caddy, Traefik), or a path below that of the operation (Envoy, whose `path_prefix` precedes the
  original path). A client that adds another form's header to confuse the two is refused, not believed.
- The path stays percent-encoded: only `tokens/channel_folders.py` decodes it.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.types import Scope

_URI_HEADERS = (b"x-original-uri", b"x-forwarded-uri")
_METHOD_HEADERS = (b"x-original-method", b"x-forwarded-method")
_QUERY_FIELDS_MAX = 100


class Unreadable(Exception):
    """Which request is meant cannot be said; the message says why."""


class OriginalRequest(NamedTuple):
    """A player's request for a file."""

    method: str
    path: str
    """As it was sent."""
    query: str

    def parameters(self, name: str) -> list[str]:
        """The values of a query parameter that are not empty. Raises Unreadable for a query with too many fields."""
        try:
            fields = parse_qsl(self.query, max_num_fields=_QUERY_FIELDS_MAX)
        except ValueError:
            raise Unreadable(f"the query has more than {_QUERY_FIELDS_MAX} parameters") from None
        return [value for field, value in fields if field == name]


def original_request(scope: Scope, operation_path: str) -> OriginalRequest:
    """The request that this subrequest is about. Raises Unreadable."""
    uris = _values(scope, _URI_HEADERS)
    methods = _values(scope, _METHOD_HEADERS) or [scope["method"]]
    if scope["path"] != operation_path:
        path = scope["raw_path"].decode("latin-1").removeprefix(operation_path)
        uris.append(f"{path}?{scope['query_string'].decode('latin-1')}")
    if len(uris) != 1:
        found = "no original URI" if not uris else f"{len(uris)} original URIs"
        raise Unreadable(f"the subrequest has {found}; the proxy must send one")
    if len(methods) != 1 or methods[0] not in ("GET", "HEAD"):
        raise Unreadable("the original method must be GET or HEAD, and be sent once")
    path, _, query = uris[0].partition("?")
    return OriginalRequest(methods[0], path, query)


def _values(scope: Scope, names: tuple[bytes, ...]) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name in names]
