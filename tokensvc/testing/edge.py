"""A player's requests to the local playback edge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from tokensvc.tokens.validation import RULE_HEADER, TOKEN_PARAMETER

TIMEOUT_SECONDS = 30.0


class EdgeResponse(NamedTuple):
    """A response of the playback edge."""

    status: int
    rule: str | None
    """The rule by which playback was refused, such as `expiry`, `revoked` or `signature`; None if it was not refused by
    a rule."""
    content: bytes
    headers: Mapping[str, str]
    """By name, in lower case."""

    @property
    def body(self) -> str:
        """The content as text: a playlist, or the JSON of an error."""
        return self.content.decode("utf-8", "replace")

    @property
    def error_code(self) -> str | None:
        """The `error_code` of an error, as IVS sends it; None if there is none."""
        if self.status < 400 or not self.content or self.headers.get("content-type") != "application/json":
            return None
        return str(json.loads(self.content)[0]["error_code"])


class Edge:
    """Opens URLs of the local playback edge as a player does."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def open(
        self, url: str, *, token: str | None = None, origin: str | None = None, method: str = "GET"
    ) -> EdgeResponse:
        """Request a playback URL, or a URL of a playlist. `token` is added as the parameter `token`, `origin` sent as
        the header Origin. Raises ValueError if the URL is not one of this local IVS."""
        if not url.startswith(f"{self._base_url}/"):
            raise ValueError(f"the URL must be one of this local IVS, and begin with {self._base_url}/")
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if token is not None:
            target += f"{'&' if parts.query else '?'}{TOKEN_PARAMETER}={quote(token, safe='')}"
        connection = HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, target, headers={} if origin is None else {"Origin": origin})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return EdgeResponse(response.status, headers.get(RULE_HEADER), response.read(), headers)
        finally:
            connection.close()
