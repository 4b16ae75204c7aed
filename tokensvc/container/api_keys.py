"""Makes API keys."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from tokensvc.callers.api_keys import KEY_PREFIX, key_digest, key_id_of
from tokensvc.callers.store import StoredSecret


def new_api_key() -> tuple[str, StoredSecret]:
    """A new API key, made of a public id and 256 random bits, and the record that the store keeps of it."""
    key = f"{KEY_PREFIX}{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    return key, StoredSecret(
        key_id=key_id_of(key), digest=key_digest(key), created_at=datetime.now(UTC), expires_at=None
    )
