"""A token for the watch page of `ivs serve`, from a token request and the key that signs."""

from __future__ import annotations

import uuid
from typing import Any

from tokensvc.container.watch_key import KEY_NAME, MAX_TTL_SECONDS
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.denylist import Denylist
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.keyring import Keyring
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.token_response import token_response


def signed_token(
    request: TokenRequest, keyring: Keyring, denylist: Denylist, subject_key: bytes, now: int
) -> dict[str, Any]:
    """The members of a token response, without a playback URL: the page knows the channel's. Raises as `prepare`."""
    snapshot = Snapshot(keyring=keyring, denylist=denylist, subject_key=subject_key)
    unsigned = prepare(request, TokenLimits(MAX_TTL_SECONDS, KEY_NAME), snapshot, now, uuid.uuid4)
    return token_response(unsigned, None, unsigned.signed())
