"""The digests of viewers in audit records, under the store's key.

Invariants
- A record names the viewer as the request did: by viewer id, or by subject. A search digests what it is given, so a
  viewer is found under each of the two names by which it was requested.
"""

from __future__ import annotations

from tokensvc.audit.record import viewer_digest
from tokensvc.audit.store import AuditStore


class ViewerDigests:
    """Digests viewers; reads the store's key once."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._key: bytes | None = None

    def __call__(self, viewer: str | None) -> str:
        """The digest of a viewer id or subject; "" for none. Raises StoreError."""
        if not viewer:
            return ""
        if self._key is None:
            self._key = self._store.digest_key()
        return viewer_digest(self._key, viewer)
