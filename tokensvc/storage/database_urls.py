"""Masks database URLs, and describes the target of a connection, without secrets.

Invariants
- No result holds a password, whether it stands in the URL's user part or its query, percent-encoded or not. Of the
  query only the parameters in READABLE are shown, so a parameter with an unknown or misspelt name is masked too.
- A URL whose parts cannot be identified with certainty is masked whole: an `@` in a password that is not
  percent-encoded would make a part of the password look like a host.
- No driver is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

MASK = "***"
READABLE = frozenset(
    {
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "passfile",
        "port",
        "require_auth",
        "service",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)
"""libpq parameters without secrets. `options` is not one of them: it may set any server variable."""

_PARTS = re.compile(
    r"(?P<start>\w+(?:\+\w+)?://[^:/@]*)(?P<password>:[^@]*@)?(?P<rest>[^?]*)(?P<query>\?.*)?", re.DOTALL
)
_SUSPICIOUS = re.compile(r"[@=;\s]|passw", re.IGNORECASE)
"""In the value of a readable parameter, signs that another parameter was written into it."""


def parsed(url: str) -> sa.URL | None:
    """The parsed URL, or None if it is not a database URL."""
    try:
        return sa.make_url(url)
    except (ArgumentError, ValueError):
        return None


def is_ambiguous(url: sa.URL) -> bool:
    """Whether an `@` that is not percent-encoded may have moved a part of the password into another part."""
    return url.password is not None and "@" in f"{url.host or ''}{url.database or ''}"


def masked(url: str) -> str:
    """The URL as written, with MASK in place of everything that may be secret."""
    parts, found = parsed(url), _PARTS.fullmatch(url)
    if parts is None or found is None or url.count("@") > 1:
        return MASK
    password = f":{MASK}@" if found["password"] else ""
    query = found["query"]
    shown = "" if query is None else "?" + "&".join(map(_masked_parameter, query[1:].split("&")))
    return f"{found['start']}{password}{found['rest']}{shown}"


def postgres_target(parameters: Mapping[str, Any], defaults: Mapping[str, str | None]) -> str:
    """Where libpq connects: host, port, database and role. `defaults` are libpq's own, from its environment.

    The settings of a service file are not known here, so the name of the service is shown.
    """
    service = parameters.get("service") or defaults.get("service")
    known = dict(parameters) if service else {**{n: value for n, value in defaults.items() if value}, **parameters}
    user = known.get("user")
    shown = {
        "service": service,
        "host": known.get("host") or known.get("hostaddr") or (None if service else "the local socket"),
        "port": known.get("port"),
        "database": known.get("dbname") or (None if service else user),
        "role": user,
    }
    return "PostgreSQL: " + ", ".join(f"{name} {value}" for name, value in shown.items() if value)


def _masked_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        return MASK
    is_readable = unquote_plus(name) in READABLE and not _SUSPICIOUS.search(unquote_plus(value))
    return parameter if is_readable else f"{name}={MASK}"
