"""Requests that came in during one turn of the loop, taken together: all are judged, then those that get a token are
all signed, then all answered.

Rules of the file
- Why: a signature is long and fills the processor's caches with its own code and tables. What runs between two of them
  starts cold each time; what runs for many requests in a row does so once. Under load a token costs a fifth less.
- Nobody waits for company: a group ends with the turn in which it began, and earlier when it has MOST members. One
  request alone is signed as soon as the loop has seen that there is no other.
- One that fails takes no other along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

from starlette.types import Scope

from tokensvc.jose.es384 import PreparedKey
from tokensvc.web.context import PendingResponse, RequestContext, Respond, SignMany

MAX_BATCH = 16
"""As many signatures may a request wait for beside its own: a little over a millisecond."""

OnSigned = Callable[[PendingResponse, Scope, RequestContext, Respond, bytes | Exception, float], None]
"""Called for each member with its signature, or with what went wrong, and its share of the seconds that signing took.
Raises nothing."""


class SigningBatch:
    """The group of the present turn."""

    def __init__(self, finish: OnSigned, sign_many: SignMany) -> None:
        self._finish = finish
        self._sign_many = sign_many
        self._members: list[tuple[PendingResponse, Scope, RequestContext, Respond]] = []

    def add(self, pending: PendingResponse, scope: Scope, context: RequestContext, respond: Respond) -> None:
        """Have this one signed and finished, no later than at the end of the turn."""
        if not self._members:
            asyncio.get_running_loop().call_soon(self.end)
        self._members.append((pending, scope, context, respond))
        if len(self._members) == MAX_BATCH:
            self.end()

    def end(self) -> None:
        """Sign and finish all who are there."""
        members, self._members = self._members, []
        if not members:
            return
        started = perf_counter()
        signatures = self._signatures([(member[0].key, member[0].digest) for member in members])
        seconds = (perf_counter() - started) / len(members)
        for member, signature in zip(members, signatures, strict=True):
            self._finish(*member, signature, seconds)

    def _signatures(self, requests: list[tuple[PreparedKey, bytes]]) -> Sequence[bytes | Exception]:
        try:
            return self._sign_many(requests)
        except Exception:  # noqa: BLE001 - one of them failed: the others must not, so each is signed by itself
            return [_signature(*request) for request in requests]


def _signature(key: PreparedKey, digest: bytes) -> bytes | Exception:
    try:
        return key.sign(digest)
    except Exception as error:  # noqa: BLE001 - the one who answers reports it
        return error
