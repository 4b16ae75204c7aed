"""Web origins, as a playback token lists them and as a player sends them.

Rules of the file
- An entry is `*`, or `scheme://host[:port]` whose host may begin with `*` (IVS user guide, "Generate and Sign
  Playback Tokens", access-control-allow-origin). No path, no trailing slash, no comma: a browser sends none.
- The token carries the entries in one string, joined by commas without spaces.
- How IVS compares is not documented. INFERRED here, in `matches`: exactly, character by character; a `*` at the front
  of the host stands for one or more characters, so that `https://*.example.com` does not cover `https://example.com`.
  Therefore an entry that no browser could ever send (capitals, a default port, port 99999) is refused before it is
  signed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

STRICT_MAX_ENTRIES = 5
PORT_MAX = 65_535
_HOST = r"(?:\*?[a-z0-9._-]*[a-z0-9]|\[[0-9a-f:.]+\])"
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST})(?::([0-9]{{1,5}}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def check_origin(entry: str) -> str:
    """Return the entry, or raise ValueError naming the rule it breaks."""
    if entry == "*":
        return entry
    if entry != entry.lower():
        raise ValueError("must be in lower case, as browsers send it")
    found = _ORIGIN.fullmatch(entry)
    if found is None:
        raise ValueError("must be * or scheme://host[:port], without path or trailing slash; the host may begin with *")
    if found[3] and (found[3].startswith("0") or int(found[3]) > PORT_MAX):
        raise ValueError(f"must have a port from 1 to {PORT_MAX}, without leading zeros")
    if _DEFAULT_PORTS.get(found[1]) == found[3] and found[3]:
        raise ValueError(f"must leave out :{found[3]}, the default port of {found[1]}, as browsers do")
    return entry


def join_origins(entries: Sequence[str]) -> str:
    """The claim's one string."""
    return ",".join(entries)


def split_origins(claim: str) -> list[str]:
    """The entries of the claim's one string; spaces are not trimmed."""
    return claim.split(",")


def matches(origin: str, entries: Sequence[str]) -> bool:
    """Whether an `Origin` header is covered by one of the entries."""
    return any(_covers(entry, origin) for entry in entries)


def _covers(entry: str, origin: str) -> bool:
    if entry in ("*", origin):
        return True
    before, star, after = entry.partition("://*")
    return (
        bool(star)
        and origin.startswith(f"{before}://")
        and origin.endswith(after)
        and len(origin) > len(before) + 3 + len(after)
    )
