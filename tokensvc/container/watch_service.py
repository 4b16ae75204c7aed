"""The watch page's tokens in `demo`: those of the service, requested over HTTP like any backend.

Invariants
- The API key is this object's; the page never gets it.
- The responses of the service reach the page unchanged, problems included.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from tokensvc.aws.arn import Arn
from tokensvc.container.watch_explanations import explain_attempt
from tokensvc.errors import NoSigningKey, ServiceUnreachable
from tokensvc.local_ivs.watch.token_source import Reply
from tokensvc.tokens.validation import PlaybackAttempt

TIMEOUT_SECONDS = 10
ROTATION_SECONDS = 20
"""How long the page waits for a rotation; the demo's key takes over after 2 seconds."""
_POLL_SECONDS = 0.25
_MAX_BYTES = 1024 * 1024


class ServiceTokens:
    """`TokenSource` of a running service."""

    description = "The service issues the tokens, as for any backend with an API key."

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._api_key = ""

    def use(self, api_key: str) -> None:
        """Request tokens with this API key from now on; until then the page says that the demo is starting."""
        self._api_key = api_key

    def issue(self, fields: Mapping[str, Any]) -> Reply:
        return self._request("POST", "/v1/tokens", fields)

    def explain(self, attempt: PlaybackAttempt) -> Mapping[str, Any]:
        return explain_attempt(attempt)

    def revoke(self, channel: Arn, viewer_id: str) -> Reply:
        return self._request("POST", "/v1/revocations", {"channelArn": str(channel), "viewerId": viewer_id})

    def rotate(self, channel: Arn) -> Reply:
        """Requests the rotation and waits until another key has taken over."""
        reply = self._request("POST", "/v1/keys/rotate", {"regions": [channel.account_region.region]})
        ends_at = time.monotonic() + ROTATION_SECONDS
        while reply.status < 300 and not reply.document["done"] and time.monotonic() < ends_at:
            threading.Event().wait(_POLL_SECONDS)
            reply = self._request("GET", f"/v1/keys/rotations/{reply.document['id']}")
        return reply

    def _request(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> Reply:
        if not self._api_key:
            raise NoSigningKey("the demo is still starting; try again in a moment")
        headers = {"authorization": f"Bearer {self._api_key}", "content-type": "application/json"}
        body = None if fields is None else json.dumps(dict(fields)).encode()
        connection = HTTPConnection(self._address.hostname or "", self._address.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            document = json.loads(response.read(_MAX_BYTES))
        except (OSError, HTTPException, ValueError):
            raise ServiceUnreachable("the service did not respond") from None
        finally:
            connection.close()
        return Reply(response.status, document)
