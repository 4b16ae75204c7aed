"""Requests that no SDK would send, signed by botocore's signer."""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error_type(self) -> str:
        return self.headers.get("x-amzn-errortype", "")

    def json(self) -> Any:
        return json.loads(self.body)


def send(
    method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None, *, sign: bool = True, **scope: str
) -> Reply:
    """Send exactly this path, query and body, signed for the local IVS by default."""
    request = AWSRequest(method, url, data=body, headers=headers or {})
    if sign:
        credentials = Credentials(scope.get("access_key", "test"), scope.get("secret", "test"), scope.get("token"))
        SigV4Auth(credentials, scope.get("service", "ivs"), scope.get("region", "us-west-2")).add_auth(request)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body or None, dict(request.headers.items()))
        response = connection.getresponse()
        return Reply(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
    finally:
        connection.close()
