"""API keys: the form of a key, its digest, and the caller that presents one.

Invariants
- A key is looked up by its public id and compared by the digest of the whole key, in constant time. Unknown, disabled
  and expired keys get the same error as a wrong one.
- Reads its arguments and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from tokensvc.callers.policy import Caller
from tokensvc.errors import Unauthenticated

KEY_PREFIX = "tsk_"
MESSAGE = "API key missing, unknown, expired or disabled"
_KEY_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_NO_DIGEST = hashlib.sha256(b"").digest()
"""Compared with where there is no such key, so that an unknown id takes as long as a known one."""


class KeyReason(StrEnum):
    """Why an API key is not accepted."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    DISABLED = "disabled"


class KnownSecret(NamedTuple):
    """An API key that may be presented: its digest, when it expires, and whose it is."""

    digest: bytes
    expires_at: datetime | None
    caller: Caller
    disabled: bool = False
    """Whether its caller is disabled. It is known all the same, so that the log says why it is rejected."""

    def __repr__(self) -> str:
        return f"KnownSecret(caller={self.caller.name!r}, expires_at={self.expires_at!r})"


def key_digest(key: str) -> bytes:
    """The digest that the store holds in place of an API key. A key is 256 random bits, so a plain SHA-256 cannot be
    reversed by search."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_id_of(key: str) -> str:
    """The public part of `tsk_<id>_<secret>`; "" when the key has another form."""
    parts = key.split("_", 2)
    return parts[1] if len(parts) == 3 and key.startswith(KEY_PREFIX) else ""


def authenticate(authorization: str, secrets: Mapping[str, KnownSecret], now: float) -> Caller:
    """The caller that an `Authorization: Bearer tsk_…` header identifies. `secrets` are by key id, `now` is in Unix
    seconds. Raises Unauthenticated."""
    scheme, _, key = authorization.partition(" ")
    known = secrets.get(key_id_of(key))
    same = hmac.compare_digest(key_digest(key), known.digest if known else _NO_DIGEST)
    if scheme.lower() != "bearer" or known is None or not same:
        raise _unauthenticated(KeyReason.UNKNOWN if authorization.strip() else KeyReason.MISSING, key)
    if known.disabled:
        raise _unauthenticated(KeyReason.DISABLED, key, known.caller.name)
    if known.expires_at is not None and known.expires_at <= datetime.fromtimestamp(now, UTC):
        raise _unauthenticated(KeyReason.EXPIRED, key, known.caller.name)
    return known.caller


def _unauthenticated(reason: KeyReason, key: str, caller: str = "") -> Unauthenticated:
    key_id = key_id_of(key)
    return Unauthenticated(
        MESSAGE,
        credentials_sent=reason is not KeyReason.MISSING,
        reason=reason,
        key_id=key_id if _KEY_ID.fullmatch(key_id) else "",
        caller=caller,
    )
