"""Minimal services for runs with real processes and sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.benchmarks.load.sample_records import keys_line
from tests.support.servers import serving
from tests.support.tokens import CHANNEL, HEADER, encode_token
from tokensvc.jose.keypair import PrivateKey

NEVER = 3600.0


class SigningService(NamedTuple):
    """A service that signs tokens: its URL, and the connections that requested one."""

    url: str
    connections: set[tuple[str, int]]


class Responses:
    """Starts services that publish this key and respond to each token request in the same way."""

    def __init__(self, key: PrivateKey, servers: ExitStack) -> None:
        self._keys = json.dumps(keys_line(key).model_dump())
        self._servers = servers

    def start(self, status: int, body: str, *, after_seconds: float = 0.0, keys: str | None = None) -> str:
        """Start a service; its base URL."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            is_token = scope["method"] == "POST"
            if is_token:
                await receive()
                await asyncio.sleep(after_seconds)
            text = body if is_token else keys or self._keys
            headers = [(b"content-length", str(len(text)).encode())]
            await send({"type": "http.response.start", "status": status if is_token else 200, "headers": headers})
            await send({"type": "http.response.body", "body": text.encode()})

        return self._servers.enter_context(serving(app))

    def stop(self) -> None:
        """Stop all services."""
        self._servers.close()


@pytest.fixture
def responses(private_key: PrivateKey) -> Iterator[Responses]:
    with ExitStack() as servers:
        yield Responses(private_key, servers)


def run_options(folder: Path, url: str) -> list[str]:
    """The options of a run on this service, with its files in `out` in the folder."""
    (folder / "key").write_text("tsk_very_secret\n")
    (folder / "key").chmod(0o600)
    caller = ["--api-key-file", str(folder / "key"), "--channel", str(CHANNEL)]
    return ["--url", url, *caller, "--out", str(folder / "out")]


@pytest.fixture
def signing_service(private_key: PrivateKey) -> Iterator[SigningService]:
    connections: set[tuple[str, int]] = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, response = 200, json.dumps(keys_line(private_key).model_dump())
        if scope["method"] == "POST":
            connections.add(tuple(scope["client"]))
            token_request = json.loads((await receive())["body"])
            claims = {"aws:channel-arn": token_request["channelArn"], "aws:viewer-id": token_request["viewerId"]}
            token = encode_token(private_key, HEADER, claims | {"exp": int(time.time()) + 300})
            status, response = 201, json.dumps({"token": token}, separators=(",", ":"))
        headers = [(b"content-length", str(len(response)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": response.encode()})

    with serving(app) as url:
        yield SigningService(url, connections)
