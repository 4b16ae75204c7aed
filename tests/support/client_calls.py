"""Calls of the Python client, sync and async: tests of what both promise run once with each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from tokensvc.client import AsyncTokensClient, RetryPolicy, TokensClient

API_KEY = "tsk_4f1c0a9e27b3_the-secret-of-this-key"
Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")


@dataclass
class ClientCalls:
    """Makes each call with a new client. Sleeps are recorded instead of slept."""

    kind: Kind
    api_key: str = field(default=API_KEY, repr=False)
    sleeps: list[float] = field(default_factory=list)

    def call(
        self, url: str, method: str, *arguments: object, retries: RetryPolicy | None = None, **named: object
    ) -> Any:
        if self.kind == "async":
            return asyncio.run(self._call(url, method, arguments, retries, named))
        with TokensClient(url, self.api_key, retries=retries, sleep=self.sleeps.append) as client:
            found = getattr(client, method)(*arguments, **named)
            return found if not hasattr(found, "__next__") else list(found)

    async def _call(
        self,
        url: str,
        method: str,
        arguments: tuple[object, ...],
        retries: RetryPolicy | None,
        named: dict[str, object],
    ) -> Any:
        async def sleep(seconds: float) -> None:
            self.sleeps.append(seconds)

        async with AsyncTokensClient(url, self.api_key, retries=retries, sleep=sleep) as client:
            found = getattr(client, method)(*arguments, **named)
            if hasattr(found, "__anext__"):
                return [each async for each in found]
            return await found
