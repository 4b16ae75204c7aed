"""The URLs of token issuers: which ones a policy may name.

Invariants
- https only. Plain http is accepted for a loopback address, where nobody can read or change what is sent.
- No user name, password or fragment. No query either in an issuer identifier (OpenID Connect Core 1.0, section 2); the
  URL of a key set may have one.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_MAX_LENGTH = 512


def check_issuer_url(url: str, *, allow_query: bool = False) -> str:
    """Return the URL, or raise ValueError naming the rule it breaks. `allow_query` is for the URL of a key set."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("must be a URL, such as https://login.example.com") from None
    if len(url) > _MAX_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"must be at most {_MAX_LENGTH} printable ASCII characters without spaces")
    if not host or parts.scheme not in ("https", "http"):
        raise ValueError("must be a URL, such as https://login.example.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must begin with https://; http:// is for loopback addresses only")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise ValueError("must have no user name, password or fragment")
    if "?" in url and not allow_query:
        raise ValueError("must have no query")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
