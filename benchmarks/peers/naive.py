"""Starlette and PyJWT with PEM text, as people write a token endpoint."""

from __future__ import annotations

import secrets
import time

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tokensvc.core import keypair

PRIVATE_KEY_PEM = keypair.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
API_KEY = "bench"


async def create_token(request: Request) -> JSONResponse:
    """Check the key, take the body's word for the rest, sign."""
    if not secrets.compare_digest(request.headers.get("x-api-key", ""), API_KEY):
        return JSONResponse({"error": "unauthorized"}, 401)
    ask = await request.json()
    expires_at = int(time.time()) + 300
    claims = {"aws:channel-arn": ask["channelArn"], "aws:viewer-id": ask["viewerId"], "exp": expires_at}
    token = jwt.encode(claims, PRIVATE_KEY_PEM, algorithm="ES384")
    return JSONResponse({"token": token, "expiresAt": expires_at}, 201)


app = Starlette(routes=[Route("/v1/tokens", create_token, methods=["POST"])])
