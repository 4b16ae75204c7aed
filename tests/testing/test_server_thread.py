"""A server in a thread of the tests' process."""

from __future__ import annotations

import threading
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tokensvc.testing.server_thread import serving

APP = Starlette(routes=[Route("/", lambda _request: PlainTextResponse("here"))])


@pytest.mark.slow
def test_it_answers_inside_the_block_and_not_after_it() -> None:
    stopped = threading.Event()
    with serving(APP, "tests", stopped.set) as url:
        assert url.startswith("http://127.0.0.1:")
        with urlopen(url, timeout=10) as response:
            assert response.read() == b"here"
        assert not stopped.is_set()
    assert stopped.is_set()
    with pytest.raises(URLError):
        urlopen(url, timeout=10)


def test_it_stops_after_an_error_in_the_block() -> None:
    with pytest.raises(ZeroDivisionError), serving(APP, "tests"):
        raise ZeroDivisionError
    assert "tests" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # uvicorn ends its thread so
def test_an_application_that_does_not_start_is_an_error() -> None:
    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no store"})

    with pytest.raises(RuntimeError, match="the server tests ended before it had started"), serving(broken, "tests"):
        pass
