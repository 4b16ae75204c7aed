"""Page tokens of lists: opaque, and valid only for the list that returned them.

Invariants
- A token holds a number in the order of creation and a truncated HMAC-SHA-256 over it and the list's scope: operation,
  account, region and filters. A token that was changed, or comes from another list, is rejected.
- Its alphabet is the one that the model allows (PaginationToken).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from tokensvc.local_ivs.errors import invalid_member

_NUMBER_BYTES = 8
_MAC_BYTES = 16


class PageTokens:
    """Encodes and decodes page tokens under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def encode(self, scope: str, number: int) -> str:
        """The token that continues the list with this scope after that number."""
        data = number.to_bytes(_NUMBER_BYTES, "big")
        return base64.urlsafe_b64encode(data + self._mac(scope, data)).decode()

    def decode(self, scope: str, token: str) -> int:
        """The number in a token. "" is the start of the list, as in the AWS CLI's examples. Raises IvsError."""
        if not token:
            return 0
        try:
            data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)[:_NUMBER_BYTES]
        except (binascii.Error, ValueError):
            data = b""
        number = int.from_bytes(data, "big")
        if not hmac.compare_digest(token.encode(), self.encode(scope, number).encode()):
            raise invalid_member("nextToken", "Member must be a token that this list returned")
        return number

    def _mac(self, scope: str, data: bytes) -> bytes:
        return hmac.digest(self._secret, scope.encode() + b"\0" + data, hashlib.sha256)[:_MAC_BYTES]
