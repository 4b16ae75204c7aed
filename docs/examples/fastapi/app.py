"""An app's backend in FastAPI that gets playback tokens for its signed-in viewers."""

import logging
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Cookie, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from tokensvc.client import (
    AsyncTokensClient,
    NoResponseError,
    PermissionDeniedError,
    RateLimitedError,
    RetryPolicy,
    TokenRequest,
    TokensError,
    UnavailableError,
)

API_KEY = Path(os.environ["TOKENS_API_KEY_FILE"]).read_text().strip()
STREAMS = {"main-stage": os.environ["CHANNEL_ARN"]}
PAGE_ORIGIN = os.environ.get("PAGE_ORIGIN", "http://127.0.0.1:8000")
# STAND-IN for your own sessions: the value of the cookie -> the viewer.
SESSIONS = {"session-of-ada": "ada@example.com", "session-of-eve": "eve@example.com"}

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # A viewer is waiting: two attempts within four seconds, then the page tries again.
    retries = RetryPolicy(max_attempts=2, deadline_seconds=4)
    async with AsyncTokensClient(os.environ["TOKENS_URL"], API_KEY, retries=retries) as client:
        app.state.tokens = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/api/playback/{stream}")
async def playback(stream: str, request: Request, session: str = Cookie("")) -> Response:
    viewer = SESSIONS.get(session)  # STAND-IN: authenticate the viewer as your app does
    if viewer is None:
        raise HTTPException(401)
    channel_arn = STREAMS.get(stream)  # Your own rules belong here: may this viewer watch this stream?
    if channel_arn is None:
        raise HTTPException(404)
    token = await request.app.state.tokens.issue_token(
        TokenRequest(channel_arn, subject=viewer, allowed_origins=[PAGE_ORIGIN], require_playback_url=True)
    )
    content = {
        "playbackUrl": token.playback_url,
        "expiresAt": token.expires_at.isoformat(),
        "refreshAfter": token.refresh_after.isoformat(),
    }
    return JSONResponse(content, headers={"cache-control": "no-store"})


@app.exception_handler(TokensError)
async def explain(_: Request, error: TokensError) -> Response:
    """What the page learns of an error of tokensvc: whether and when to try again, and nothing else."""
    code = getattr(error, "code", "")
    headers = {"cache-control": "no-store"}
    status = 502
    if isinstance(error, PermissionDeniedError) and code == "viewer_denied":
        status = 403
    elif isinstance(error, RateLimitedError | UnavailableError | NoResponseError):
        status = 429 if isinstance(error, RateLimitedError) else 503
        headers["retry-after"] = str(math.ceil(getattr(error, "retry_after_seconds", None) or 2))
    log.warning("no token: %s %s, request %s", type(error).__name__, code, getattr(error, "request_id", None))
    return JSONResponse({"error": "playback is not available"}, status, headers)


@app.get("/sign-in/{name}")
async def sign_in(name: str) -> Response:
    """STAND-IN for your sign-in."""
    response = RedirectResponse("/", 303)
    response.set_cookie("session", f"session-of-{name}", httponly=True, samesite="lax")
    return response


app.mount("/", StaticFiles(directory="static", html=True))
