"""A query string as it was sent, decoded.

Invariants
- Signature and operation read it by this one function, so that what was signed is what is understood.
- INFERRED: a bare plus is a space, as forms write it (WHATWG URL, "application/x-www-form-urlencoded parsing"); a
  client that sends one signs it as `%20`, and a plus itself is sent `%2B`.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def decoded_pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values in the order in which they were sent."""
    pairs = (pair.replace(b"+", b" ").partition(b"=") for pair in raw_query.split(b"&") if pair)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]
