"""The files of the watch page, with validators for the browser's cache.

Invariants
- Everything that the page loads is one of these files: no other host, no inline script or style. The policy that says
  so is sent with each of them.
- A browser asks each time whether its copy is current (`no-cache`, RFC 9111, section 5.2.2.4), so that a page never
  mixes files of two versions.
- Only the names in FILES are served.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from tokensvc.local_ivs.http.asgi import HttpResponse

INDEX = "index.html"
PLAYER = "hls.light.min.js"
"""hls.js, as its authors publish it on npm (`dist/hls.light.min.js`): without captions, DRM and alternate audio, which
no stream of IVS needs here. For another version: `npm pack hls.js@VERSION`, copy that file, change the two constants
below and the version in NOTICE."""
PLAYER_VERSION = "1.7.4"
PLAYER_SHA256 = "482cccb3a224554f64d8c2cf0d335dba4a3819bdb726afbfddfe15de4c277d82"
"""Of the file in the package `hls.js` of that version."""

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src blob:",  # Media Source Extensions: the video element plays a blob
        # The player may reach the edge under the other name of this machine, which makes it another origin.
        "connect-src 'self' http://localhost:* http://127.0.0.1:*",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
SECURITY_HEADERS = (
    ("content-security-policy", _POLICY),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


class StaticFile(NamedTuple):
    """One file, read once."""

    content: bytes
    media_type: str
    etag: str


@cache
def names() -> frozenset[str]:
    """The names of all files."""
    return frozenset(entry.name for entry in _folder().iterdir() if entry.name.rpartition(".")[2] in _TYPES)


@cache
def read(name: str) -> StaticFile:
    """The file with a name of `names()`."""
    content = _folder().joinpath(name).read_bytes()
    return StaticFile(content, _TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def respond(name: str, if_none_match: str) -> HttpResponse:
    """The file, or 304 if the browser has it. `name` is one of `names()`."""
    file = read(name)
    headers = (("etag", file.etag), ("cache-control", "no-cache"), *SECURITY_HEADERS)
    if file.etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return HttpResponse(304, headers, b"")
    return HttpResponse(200, (("content-type", file.media_type), *headers), file.content)


def _folder() -> Traversable:
    return files("tokensvc.local_ivs.watch") / "static"
