"""A service that knows nothing but to sign, for runs with real processes and sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.benchmarks.load.recorded import keys_line
from tests.minting import HEADER, seal
from tests.running import serving
from tokensvc.core.keypair import PrivateKey


class Signing(NamedTuple):
    """Where it is, and the connections that asked it for a token."""

    url: str
    connections: set[tuple[str, int]]


@pytest.fixture
def signing(private_key: PrivateKey) -> Iterator[Signing]:
    connections: set[tuple[str, int]] = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, answer = 200, json.dumps(keys_line(private_key).model_dump())
        if scope["method"] == "POST":
            connections.add(tuple(scope["client"]))
            ask = json.loads((await receive())["body"])
            claims = {"aws:channel-arn": ask["channelArn"], "aws:viewer-id": ask["viewerId"]}
            token = seal(private_key, HEADER, claims | {"exp": int(time.time()) + 300})
            status, answer = 201, json.dumps({"token": token}, separators=(",", ":"))
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.encode()})

    with serving(app) as url:
        yield Signing(url, connections)
