"""Decoding of a query string as it was sent.

Invariants
- SigV4 verification and the operation use the same function, so what was signed is what is executed.
- INFERRED: A bare plus in a query string is a space, as in form encoding (WHATWG URL,
  "application/x-www-form-urlencoded parsing"). A client that sends one signs it as `%20`; a plus itself is sent as
  `%2B`.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def decoded_pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values in the order in which they were sent."""
    pairs = (pair.replace(b"+", b" ").partition(b"=") for pair in raw_query.split(b"&") if pair)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]
