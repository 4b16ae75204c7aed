"""Web origins, as a playback token lists them and as a player sends them.

Invariants
- An entry is `*`, or `scheme://host[:port]` whose host may begin with `*` (IVS user guide, "Generate and Sign
  Playback Tokens", access-control-allow-origin). No path, no trailing slash, no comma: a browser sends none.
- The token carries the entries in one string, joined by commas without spaces.
- INFERRED: An `Origin` header that is not a serialized origin matches no entry, not even `*`; otherwise scheme, host
  and port are compared exactly. A `*` at the start of the host stands for one or more characters of a host name, never
  of an IP literal, so `https://*.example.com` does not match `https://example.com`. How IVS compares origins is not
  documented.
- Therefore an entry that no browser could ever send (capitals, a default port, port 99999) is rejected before it is
  signed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

STRICT_MAX_ENTRIES = 5
PORT_MAX = 65_535
_HOST = r"(?:\*?[a-z0-9._-]*[a-z0-9]|\[[0-9a-f:.]+\])"
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST})(?::([0-9]{{1,5}}))?")
_LABEL = r"[a-z0-9_-]+"
_SERIALIZED = re.compile(
    rf"([a-z][a-z0-9+.-]*)://({_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]+\])(?::([1-9][0-9]{{0,4}}))?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def check_origin(entry: str) -> str:
    """Return the entry, or raise ValueError naming the rule it breaks."""
    if entry == "*":
        return entry
    if entry != entry.lower():
        raise ValueError("must be in lower case, as browsers send origins")
    match = _ORIGIN.fullmatch(entry)
    if match is None:
        raise ValueError("must be * or scheme://host[:port], without path or trailing slash; the host may begin with *")
    if match[3] and (match[3].startswith("0") or int(match[3]) > PORT_MAX):
        raise ValueError(f"must have a port from 1 to {PORT_MAX}, without leading zeros")
    if _DEFAULT_PORTS.get(match[1]) == match[3] and match[3]:
        raise ValueError(f"must leave out :{match[3]}, the default port of {match[1]}, as browsers do")
    return entry


def join_origins(entries: Sequence[str]) -> str:
    """The entries as the claim's single string."""
    return ",".join(entries)


def split_origins(claim: str) -> list[str]:
    """The entries of the claim's single string; spaces are not trimmed."""
    return claim.split(",")


class Origin(NamedTuple):
    """A parsed serialized origin."""

    scheme: str
    host: str
    port: str
    """"" for the scheme's default port."""


OPAQUE_ORIGIN = Origin("null", "", "")
"""What a browser sends for a sandboxed frame or a local file."""


def parse_origin(header: str) -> Origin | None:
    """Parse an `Origin` header; None when it is not the serialization of one origin.

    RFC 6454, sections 6.2 and 7: `null`, or scheme `://` host, and the port unless it is the scheme's default. No path,
    no user, no list of several. Browsers send scheme and host in lower case and host names in their ASCII form.
    """
    if header == "null":
        return OPAQUE_ORIGIN
    match = _SERIALIZED.fullmatch(header)
    if match is None:
        return None
    origin = Origin(match[1], match[2], match[3] or "")
    if origin.port and (int(origin.port) > PORT_MAX or _DEFAULT_PORTS.get(origin.scheme) == origin.port):
        return None
    return origin


def matches(header: str, entries: Sequence[str]) -> bool:
    """Whether an `Origin` header matches one of the entries."""
    origin = parse_origin(header)
    return origin is not None and any(_matches_entry(entry, origin) for entry in entries)


def covers(entry: str, other: str) -> bool:
    """Whether this entry matches every origin that the other entry matches."""
    if entry in ("*", other):
        return True
    wide, narrow = _ORIGIN.fullmatch(entry), _ORIGIN.fullmatch(other)
    if wide is None or narrow is None or (wide[1], wide[3]) != (narrow[1], narrow[3]):
        return False
    rest = wide[2].removeprefix("*")
    longer = len(narrow[2]) > len(rest) and not narrow[2].startswith("[")
    return wide[2].startswith("*") and longer and narrow[2].endswith(rest)


def _matches_entry(entry: str, origin: Origin) -> bool:
    if entry == "*":
        return True
    allowed = _ORIGIN.fullmatch(entry)
    if allowed is None or (allowed[1], allowed[3] or "") != (origin.scheme, origin.port):
        return False
    if not allowed[2].startswith("*"):
        return allowed[2] == origin.host
    rest = allowed[2][1:]
    return origin.host.endswith(rest) and len(origin.host) > len(rest) and not origin.host.startswith("[")
