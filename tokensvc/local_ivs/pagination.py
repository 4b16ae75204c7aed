"""Tokens that lists are continued with: opaque, and good for the list that gave them alone.

Rules of the file
- A token holds a number in the order of creation and a seal (HMAC-SHA-256, cut) over it and the list's scope: the
  operation, the place and the filters. A changed token, or one of another list, is refused.
- The alphabet is the one that the model allows (PaginationToken).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from tokensvc.local_ivs.errors import invalid_member

_NUMBER_BYTES = 8
_SEAL_BYTES = 16


class PageTokens:
    """Writes and reads them under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, scope: str, number: int) -> str:
        """The token that continues this list after that number."""
        data = number.to_bytes(_NUMBER_BYTES, "big")
        return base64.urlsafe_b64encode(data + self._seal(scope, data)).decode()

    def read(self, scope: str, token: str) -> int:
        """The number in a token. "" is the start, as the AWS CLI's examples pass it. Raises IvsError."""
        if not token:
            return 0
        try:
            data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)[:_NUMBER_BYTES]
        except (binascii.Error, ValueError):
            data = b""
        number = int.from_bytes(data, "big")
        if not hmac.compare_digest(token.encode(), self.write(scope, number).encode()):
            raise invalid_member("nextToken", "Member must be a token that this list returned")
        return number

    def _seal(self, scope: str, data: bytes) -> bytes:
        return hmac.digest(self._secret, scope.encode() + b"\0" + data, hashlib.sha256)[:_SEAL_BYTES]
