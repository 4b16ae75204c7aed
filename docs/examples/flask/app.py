"""An app's backend in Flask that gets playback tokens for its signed-in viewers."""

import math
import os
from pathlib import Path

from flask import Flask, Response, abort, jsonify, redirect, request

from tokensvc.client import (
    NoResponseError,
    PermissionDeniedError,
    RateLimitedError,
    RetryPolicy,
    TokenRequest,
    TokensClient,
    TokensError,
    UnavailableError,
)

API_KEY = Path(os.environ["TOKENS_API_KEY_FILE"]).read_text().strip()
STREAMS = {"main-stage": os.environ["CHANNEL_ARN"]}
PAGE_ORIGIN = os.environ.get("PAGE_ORIGIN", "http://127.0.0.1:5000")
# STAND-IN for your own sessions: the value of the cookie -> the viewer.
SESSIONS = {"session-of-ada": "ada@example.com", "session-of-eve": "eve@example.com"}

app = Flask(__name__, static_folder=Path("static").resolve(), static_url_path="")
# Threads share the client. A viewer is waiting: two attempts within four seconds, then the page tries again.
tokens = TokensClient(os.environ["TOKENS_URL"], API_KEY, retries=RetryPolicy(max_attempts=2, deadline_seconds=4))


@app.post("/api/playback/<stream>")
def playback(stream: str) -> Response:
    viewer = SESSIONS.get(request.cookies.get("session", ""))  # STAND-IN: authenticate the viewer as your app does
    if viewer is None:
        abort(401)
    channel_arn = STREAMS.get(stream)  # Your own rules belong here: may this viewer watch this stream?
    if channel_arn is None:
        abort(404)
    token = tokens.issue_token(
        TokenRequest(channel_arn, subject=viewer, allowed_origins=[PAGE_ORIGIN], require_playback_url=True)
    )
    response = jsonify(
        playbackUrl=token.playback_url,
        expiresAt=token.expires_at.isoformat(),
        refreshAfter=token.refresh_after.isoformat(),
    )
    response.headers["cache-control"] = "no-store"
    return response


@app.errorhandler(TokensError)
def explain(error: TokensError) -> Response:
    """What the page learns of an error of tokensvc: whether and when to try again, and nothing else."""
    code = getattr(error, "code", "")
    response = jsonify(error="playback is not available")
    response.status_code = 502
    response.headers["cache-control"] = "no-store"
    if isinstance(error, PermissionDeniedError) and code == "viewer_denied":
        response.status_code = 403
    elif isinstance(error, RateLimitedError | UnavailableError | NoResponseError):
        response.status_code = 429 if isinstance(error, RateLimitedError) else 503
        response.headers["retry-after"] = str(math.ceil(getattr(error, "retry_after_seconds", None) or 2))
    request_id = getattr(error, "request_id", None)
    app.logger.warning("no token: %s %s, request %s", type(error).__name__, code, request_id)
    return response


@app.get("/sign-in/<name>")
def sign_in(name: str) -> Response:
    """STAND-IN for your sign-in."""
    response = app.make_response(redirect("/", 303))
    response.set_cookie("session", f"session-of-{name}", httponly=True, samesite="Lax")
    return response


@app.get("/")
def page() -> Response:
    return app.send_static_file("index.html")
