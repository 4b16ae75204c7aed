"""`GET /.well-known/jwks.json`: the public halves that our tokens verify with, for anyone's JOSE library.

Rules of the file
- Every key that IVS holds for us is in it: active, prepared and retiring, so that a token minted a moment ago verifies
  through a rotation. Tokens carry no `kid`; a verifier tries each.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from starlette.types import Receive, Scope

from tokensvc.http.problem_details import JSON, Response
from tokensvc.jose.es384 import ALGORITHM, COORDINATE_BYTES, base64url_encode
from tokensvc.jose.keypair import PublicKey
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.context import RequestContext


class Jwks:
    """Renders the ring's public halves as a JWK set (RFC 7517, 5; RFC 7518, 6.2.1)."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    async def jwks(self, _scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
        accepted = {
            key_id: key
            for slot in self._snapshot().keyring.region_keys.values()
            for key_id, key in slot.verification_keys.items()
        }
        keys = [_jwk(key_id, key) for key_id, key in sorted(accepted.items())]
        return Response(200, orjson.dumps({"keys": keys}), (JSON, (b"cache-control", b"max-age=60")), "ok")


def _jwk(key_id: str, key: PublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-384",
        "use": "sig",
        "alg": ALGORITHM,
        "kid": key_id,
        "x": base64url_encode(numbers.x.to_bytes(COORDINATE_BYTES, "big")).decode(),
        "y": base64url_encode(numbers.y.to_bytes(COORDINATE_BYTES, "big")).decode(),
    }
