"""Requests that no SDK would send, signed as AWS's signer signs them."""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Reply(NamedTuple):
    """What came back."""

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
    """Send exactly this path, query and body; signed for the local IVS unless told otherwise."""
    request = AWSRequest(method, url, data=body, headers=headers or {})
    if sign:
        who = Credentials(scope.get("access_key", "test"), scope.get("secret", "test"), scope.get("token"))
        SigV4Auth(who, scope.get("service", "ivs"), scope.get("region", "us-west-2")).add_auth(request)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body or None, dict(request.headers.items()))
        answer = connection.getresponse()
        return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()
