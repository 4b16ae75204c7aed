"""Who the client is when a proxy speaks for it.

Rules of the file
- Only a proxy that the settings name is believed, and the decision is uvicorn's own.
- Behind a proxy the hot path is the same as without one. (A head that names each request's own client or trace is never
  the last one's, so it is parsed each time.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from starlette.types import Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tokensvc.web.exchange import AnswersAtOnce, Reply


class BehindProxies(ProxyHeadersMiddleware):
    """An application that sees its clients where their proxies were."""

    def __init__(self, app: Any, trusted: Sequence[str]) -> None:
        super().__init__(app, list(trusted))
        self._front: AnswersAtOnce = app
        self._rename: Any = ProxyHeadersMiddleware(_nothing, list(trusted))

    def at_once(self, scope: Scope, body: bytes, reply: Reply) -> bool:
        """As the application's own. The middleware waits for nothing but for what it calls, and here that is nothing,
        so one step is all of it; done twice to one scope it changes no more."""
        with suppress(StopIteration):
            self._rename(scope, None, None).send(None)
        return self._front.at_once(scope, body, reply)

    def end_turn(self) -> None:
        self._front.end_turn()


async def _nothing(*_asgi: Any) -> None:
    """What the middleware passes a request on to when only its renaming is wanted."""
