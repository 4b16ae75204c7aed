"""The minimum that an HTTP server can do and still sign: the upper bound for tokens over HTTP.

Not a usable endpoint: it reads no header, checks nothing, and signs the same claims every time.
"""

from __future__ import annotations

from hashlib import sha384
from typing import Any

from awscrt.crypto import EC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.peers.key import private_key
from tokensvc.jose.es384 import jws_compact, signing_input

_KEY = EC.new_key_from_der_data(
    private_key().private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
)
_SIGNED = signing_input(b'{"aws:channel-arn":"arn:aws:ivs:us-east-1:000000000000:channel/abcdefghijkl","exp":1}')
_HEADERS = [(b"content-type", b"application/json")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the body, sign, respond."""
    if scope["type"] != "http":
        return
    await receive()
    signature = EC.decode_der_signature_to_padded_pair(_KEY.sign(sha384(_SIGNED).digest()), 48)
    body = b'{"token":"%s"}' % jws_compact(_SIGNED, signature).encode()
    headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": body})
