"""Starlette and PyJWT with PEM text, a typical token endpoint: the key is parsed for every token."""

from __future__ import annotations

import secrets
import time

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.peers.key import API_KEY, private_key

PRIVATE_KEY_PEM = private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def create_token(request: Request) -> JSONResponse:
    """Check the caller's key, trust the body, sign."""
    if not secrets.compare_digest(request.headers.get("authorization", ""), f"Bearer {API_KEY}"):
        return JSONResponse({"error": "unauthorized"}, 401)
    body = await request.json()
    now = int(time.time())
    claims = {
        "aws:channel-arn": body["channelArn"],
        "aws:viewer-id": body["viewerId"],
        "aws:viewer-session-version": now,
        "exp": now + 300,
    }
    token = jwt.encode(claims, PRIVATE_KEY_PEM, algorithm="ES384")
    return JSONResponse({"token": token, "expiresAt": claims["exp"]}, 201)


app = Starlette(routes=[Route("/v1/tokens", create_token, methods=["POST"])])
