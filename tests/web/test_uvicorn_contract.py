"""Every part of uvicorn that the protocol and the server rely on, with the digest of its reviewed source.

When uvicorn's pin moves and a test here fails: read the named part, check that `protocol.py`, `request_cycle.py`,
`server.py`, `fast_path.py` and `trusted_proxies.py` still use it correctly, and then record the new digest.
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

REVIEWED = {
    "the cycle of a request": (httptools_impl.RequestResponseCycle, "e67d470d435dcc1c"),
    "status lines": (httptools_impl._get_status_line, "d7012e110d2d2574"),
    "flow control": (flow_control.FlowControl, "126debcdaa894c83"),
    "the state that connections share": (ServerState, "f2260fbf10154746"),
    "startup, to which `server.py` adds its acceptors": (Server.startup, "2aa1d70a244bfcf2"),
    "default response headers": (Server.on_tick, "60ea49b06ccf68c1"),
    "shutdown of connections, after the acceptors are closed": (Server.shutdown, "9b33c50562992b1e"),
    "waiting for connections and tasks to finish": (Server._wait_tasks_to_complete, "17209be1e991445d"),
    "the client behind a proxy": (ProxyHeadersMiddleware, "70e1fec3e060a59b"),
}


def digest_of(part: object) -> str:
    return hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]  # type: ignore[arg-type] # classes and functions


@pytest.mark.parametrize(("part", "digest"), REVIEWED.values(), ids=REVIEWED.keys())
def test_the_uvicorn_code_that_we_rely_on_is_unchanged(part: object, digest: str) -> None:
    assert digest_of(part) == digest, f"uvicorn {uvicorn.__version__} changed this: review it again"


@pytest.mark.slow
def test_the_pin_allows_one_minor_version() -> None:
    project = tomllib.loads((Path(tokensvc.__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    pins = [pin for pin in project["project"]["dependencies"] if pin.startswith("uvicorn")]
    major, minor = uvicorn.__version__.split(".")[:2]
    assert [re.sub(r"\[.*\]", "", pin) for pin in pins] == [f"uvicorn>={major}.{minor},<{major}.{int(minor) + 1}"]
