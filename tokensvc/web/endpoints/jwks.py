"""`GET /.well-known/jwks.json`: the public keys that our tokens verify with, for any JOSE library.

Invariants
- The set has every key that IVS holds for us, active, prepared and retiring, so that a token issued a moment ago still
  verifies during a rotation. Tokens carry no `kid`; a verifier tries each key.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from starlette.types import Receive, Scope

from tokensvc.http.problem_details import JSON, Response
from tokensvc.jose.jwk import public_jwk
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.context import RequestContext


class JwksRoute:
    """Renders the keyring's public keys as a JWK set (RFC 7517, section 5; RFC 7518, section 6.2.1)."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    async def jwks(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        public_keys = {
            key_id: key
            for region_keys in self._snapshot().keyring.region_keys.values()
            for key_id, key in region_keys.verification_keys.items()
        }
        keys = [public_jwk(key_id, key) for key_id, key in sorted(public_keys.items())]
        return Response(200, orjson.dumps({"keys": keys}), (JSON, (b"cache-control", b"max-age=60")), "ok")
