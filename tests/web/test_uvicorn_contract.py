"""All of uvicorn that the protocol and the server rely on, as it was when it was read.

When uvicorn's pin moves and a test here fails: read the part that it names, see that what `protocol.py`, `server.py`,
`fast_path.py` and `proxies.py` do with it still holds, and then record the new digest.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import Server, ServerState

import tokensvc

READ = {
    "a request's cycle": (httptools_impl.RequestResponseCycle, "e67d470d435dcc1c"),
    "status lines": (httptools_impl._get_status_line, "d7012e110d2d2574"),
    "flow control": (flow_control.FlowControl, "126debcdaa894c83"),
    "what connections share": (ServerState, "f2260fbf10154746"),
    "what starting does, which `server.py` adds its acceptors to": (Server.startup, "2aa1d70a244bfcf2"),
    "headers of every response": (Server.on_tick, "60ea49b06ccf68c1"),
    "how connections are told to stop, once acceptors are closed": (Server.shutdown, "9b33c50562992b1e"),
    "how they are waited for": (Server._wait_tasks_to_complete, "17209be1e991445d"),
    "who the client of a proxy is": (ProxyHeadersMiddleware, "70e1fec3e060a59b"),
}


def digest_of(part: object) -> str:
    return hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]  # type: ignore[arg-type] # classes and functions


@pytest.mark.parametrize(("part", "digest"), READ.values(), ids=READ.keys())
def test_the_uvicorn_code_that_we_rely_on_is_unchanged(part: object, digest: str) -> None:
    assert digest_of(part) == digest, f"uvicorn {uvicorn.__version__} changed this: read it again"


def test_the_pin_allows_one_minor_version() -> None:
    project = tomllib.loads((Path(tokensvc.__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    pins = [pin for pin in project["project"]["dependencies"] if pin.startswith("uvicorn")]
    major, minor = uvicorn.__version__.split(".")[:2]
    assert [re.sub(r"\[.*\]", "", pin) for pin in pins] == [f"uvicorn>={major}.{minor},<{major}.{int(minor) + 1}"]
