"""The page of `tokensvc demo`: what runs, and commands to try.

Invariants
- It shows nothing secret: every page that a browser on this machine opens could read it. Commands take the API key from
  `.demo/env`.
- It loads nothing and runs no script.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 1.5rem } :root { color-scheme: light dark }
pre { background: color-mix(in srgb, currentcolor 8%, transparent); padding: .75rem 1rem; overflow-x: auto }
td { padding: .1rem 1.5rem .1rem 0; vertical-align: top; overflow-wrap: anywhere }
td:first-child { white-space: nowrap }
"""
_STARTING = "<p>The demo is starting. This page reloads by itself.</p>"
_COMMANDS = (
    ("Once per shell, in the folder of the demo", ". .demo/env"),
    (
        "Request a token",
        """curl -s $TOKENS/v1/tokens -H "authorization: Bearer $KEY" \\
  -d '{"channelArn": "'$CHANNEL'", "viewerId": "ada"}'""",
    ),
    (
        "Say rule by rule why a token is allowed or denied",
        'tokensvc tokens explain "$(tokensvc tokens issue --channel $CHANNEL --viewer ada)"',
    ),
    ("Revoke a viewer", "tokensvc revocations add --channel $CHANNEL --viewer ada"),
    ("Rotate the key; tokens of the previous key stay valid", "tokensvc keys rotate"),
    ("Check settings, store, vault and IVS", "tokensvc doctor"),
)
_LINKS = (
    ("/watch", "watch the channel, and what decides about a token"),
    ("/openapi.json", "the HTTP API as OpenAPI"),
    ("/readyz", "readiness"),
    ("/metrics", "metrics"),
    ("/.well-known/jwks.json", "public keys"),
)


class DemoPage:
    """The page, and what it shows."""

    def __init__(self) -> None:
        self._main = _STARTING

    def show(self, channel_arn: str, playback_url: str, management_url: str) -> None:
        """Show these resources from now on."""
        facts = (
            ("private channel, live", escape(channel_arn)),
            ("its playback URL, without a token", escape(playback_url)),
            ("management of the local IVS", escape(management_url)),
            *((text, f'<a href="{path}">{path}</a>') for path, text in _LINKS),
        )
        rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in facts)
        commands = "".join(f"<h2>{escape(text)}</h2><pre>{escape(command)}</pre>" for text, command in _COMMANDS)
        self._main = f"<p>It is for development and tests, and is not AWS.</p><table>{rows}</table>{commands}"

    def route(self) -> Route:
        """The route of the page."""
        return Route("/", self._respond, methods=["GET"])

    async def _respond(self, _request: Request) -> HTMLResponse:
        reload = '<meta http-equiv="refresh" content="1">' if self._main is _STARTING else ""
        head = f'<meta charset="utf-8"><title>tokensvc demo</title>{reload}<style>{_STYLE}</style>'
        body = f"<h1>The tokensvc demo is running</h1>{self._main}"
        return HTMLResponse(
            f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>', headers=_HEADERS
        )
