"""Protects the watch page and the management listener from pages of other sites in a browser on this machine.

Invariants
- DNS rebinding: `Host` must be localhost, an IP address or, for the watch page, the host of the public URL. A page of
  another site reaches this machine only under a name of that site (RFC 9110, section 7.2; the Host header is not under
  a page's control).
- CSRF: an action of the watch page needs an `Origin` that is the server's own, and `Sec-Fetch-Site`, if sent, must be
  `same-origin` (Fetch standard, "Origin header"; W3C Fetch Metadata). A browser sends `Origin` with every POST. Its
  scheme is not compared, since a proxy may terminate TLS.
- An action's body is declared as JSON, which a form of another site cannot do.
- The management listener has no pages: it refuses every request that a page made.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.types import Scope

from tokensvc.errors import UnsupportedMediaType
from tokensvc.http.body import header

_LOCALHOST = "localhost"
_LOCAL_HOST_RULE = "the Host header must be localhost or an IP address"
_NOT_OF_A_PAGE = ("", "none")
"""Values of Sec-Fetch-Site: not sent, and sent for an address that the user typed."""


class NotSameOrigin(Exception):
    """A request that a page of another site may have made. `code` and the text are those of the problem, whose status
    is 403."""

    code = "not_same_origin"


def check_host(scope: Scope, public_url: str | None) -> None:
    """Raise NotSameOrigin unless the request was sent to a host of this server."""
    name = _host_name(header(scope, b"host"))
    if name is None or not (_is_local(name) or (public_url and name == urlsplit(public_url).hostname)):
        raise NotSameOrigin(f"{_LOCAL_HOST_RULE}, or the host of --public-url")


def check_no_page(scope: Scope) -> None:
    """Raise NotSameOrigin unless the request was sent to this machine, and by a program that is not a page in a
    browser."""
    name = _host_name(header(scope, b"host"))
    if name is None or not _is_local(name):
        raise NotSameOrigin(_LOCAL_HOST_RULE)
    if header(scope, b"origin") or header(scope, b"sec-fetch-site") not in _NOT_OF_A_PAGE:
        raise NotSameOrigin("pages in a browser may not use the management listener; send no Origin header")


def check_action(scope: Scope) -> None:
    """Raise NotSameOrigin unless the request is one of the page itself, UnsupportedMediaType unless it sends JSON."""
    origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
    if _authority(origin) != header(scope, b"host").lower() or site not in ("", "same-origin"):
        raise NotSameOrigin("only the watch page itself may do this: the Origin header must be this server's own")
    if header(scope, b"content-type").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("the body must be JSON; send Content-Type: application/json")


def _authority(origin: str) -> str:
    """Host and port of an origin in lower case; "" if it is invalid."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # a bracket that is not closed
        return ""


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # a bracket that is not closed
        return None


def _is_local(name: str) -> bool:
    if name == _LOCALHOST or name.endswith(f".{_LOCALHOST}"):  # RFC 6761, section 6.3: never resolved elsewhere
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
