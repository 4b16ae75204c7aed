"""An OpenID Connect issuer over real HTTP, on a loopback port."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "watch-party"
JWKS_PATH = "/keys"
DISCOVERY_PATH = "/.well-known/openid-configuration"


class OidcIssuer:
    """Signs tokens and publishes its keys. A test changes what it answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.keys: dict[str, Any] = {}
        self.extra_keys: list[dict[str, Any]] = []
        self.status = 200
        self.redirect_to = ""
        self.body: bytes | None = None
        self.seconds_between_bytes = 0.0
        self.discovery: dict[str, Any] = {"issuer": url, "jwks_uri": url + JWKS_PATH}
        self.stopped = threading.Event()
        self.rotate("first")

    def rotate(self, kid: str, key: Any = None) -> None:
        """Publish one new key, and no other."""
        self.keys = {kid: key or rsa.generate_private_key(public_exponent=65537, key_size=2048)}

    def token(
        self, *, kid: str | None = None, headers: dict[str, Any] | None = None, key: Any = None, **claims: Any
    ) -> str:
        """A token of the newest key, for AUDIENCE. A claim that is None is left out."""
        kid = kid or next(reversed(self.keys))
        key = key or self.keys[kid]
        all_claims = {"iss": self.url, "aud": AUDIENCE, "sub": "viewer-1", **claims}
        return jwt.encode(
            {name: value for name, value in all_claims.items() if value is not None},
            key,
            "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256",
            {"kid": kid, **(headers or {})},
        )

    def key_set(self) -> dict[str, Any]:
        """The JWK Set."""
        keys = []
        for kid, key in self.keys.items():
            is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
            algorithm = jwt.get_algorithm_by_name("ES256" if is_ec else "RS256")
            jwk = json.loads(algorithm.to_jwk(key.public_key()))
            keys.append({**jwk, "kid": kid, "use": "sig"})
        return {"keys": keys + self.extra_keys}

    def answer(self, path: str) -> bytes:
        self.requests.append(path)
        if path == DISCOVERY_PATH:
            return json.dumps(self.discovery).encode()
        return self.body if self.body is not None else json.dumps(self.key_set()).encode()


@contextmanager
def running_issuer() -> Iterator[OidcIssuer]:
    """An issuer that is served until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = issuer.answer(self.path)
            self.send_response(302 if issuer.redirect_to else issuer.status)
            if issuer.redirect_to:
                self.send_header("location", issuer.redirect_to)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                if not issuer.seconds_between_bytes:
                    self.wfile.write(body)
                for byte in body if issuer.seconds_between_bytes else b"":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if issuer.stopped.wait(issuer.seconds_between_bytes):
                        return
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = OidcIssuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def in_an_hour() -> int:
    """An `exp` by this machine's clock."""
    return int(time.time()) + 3600
