"""The curl examples of the HTTP references work against a demo, in their order, and get what the reference shows.

Ids in the examples are replaced by those that the demo's responses have in the same places.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.generator.http_api import curl
from docs.generator.management import EXAMPLES
from tests.docs.environments import beside_demo
from tests.docs.page_shell import BASH
from tests.support.processes import run
from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs.http.management import OPERATIONS as MANAGEMENT
from tokensvc.local_ivs.http.management import ManagementOperation
from tokensvc.web.examples import CHANNEL
from tokensvc.web.operations import Operation
from tokensvc.web.routes import DENIALS, KEYS, OPERATIONS

pytestmark = [
    pytest.mark.long,
    pytest.mark.e2e,
    pytest.mark.skipif(BASH is None, reason="bash is not installed"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages"),
]
START_PLAYBACK = """. .demo/env
curl -sf "$(curl -sf $TOKENS/v1/tokens -H "authorization: Bearer $KEY" \\
  -d '{"channelArn": "'$CHANNEL'", "viewerId": "viewer-1"}' | sed 's/.*"playbackUrl":"\\([^"]*\\)".*/\\1/')"
"""
"""What the examples about sessions need."""
LAST: tuple[Operation[Any], ...] = (
    *[o for o in DENIALS if o.method == "DELETE"],
    *[o for o in KEYS if o.path.endswith("/compromise")],
)
"""They end what other examples need."""
_ORDER: tuple[Operation[Any], ...] = (*[o for o in OPERATIONS if o not in LAST], *LAST)


def test_every_example_works_as_printed(tmp_path: Path) -> None:
    with beside_demo(tmp_path) as demo:
        channel = json.loads((demo.folder / ".demo/demo.json").read_text("utf-8"))["channelArn"]
        ids = {_playlist_name(CHANNEL): _playlist_name(channel)}
        for operation in _ORDER:
            command = f'. .demo/env\n{curl(operation)} --write-out "\\n%{{http_code}}"'
            for shown, real in ids.items():
                command = command.replace(shown, real)
            assert BASH is not None
            body, _, status = run([BASH, "-euc", command], demo.folder, demo.variables).out.rpartition("\n")
            name = f"{operation.method} {operation.path}"
            assert int(status) == operation.status, f"{name}: {body}"
            if operation.example.response is not None:
                response = json.loads(body)
                assert _difference(operation.example.response, response, "$") is None, name
                ids |= {shown: real for shown, real in _ids(operation.example.response, response) if shown != real}
            if operation.example.headers:
                assert run([BASH, "-euc", command], demo.folder, demo.variables).out.startswith(body), name
            if operation.path == "/v1/revocations":
                time.sleep(1)  # so that it is delivered


def test_every_example_of_the_management_listener_works_as_printed(tmp_path: Path) -> None:
    with beside_demo(tmp_path) as demo:
        assert BASH is not None
        ids: dict[str, str] = {}
        for operation in sorted(MANAGEMENT, key=_stops_before_it_starts):
            name = f"{operation.method} {operation.path}"
            command, shown = EXAMPLES[name]
            for example, real in ids.items():
                command = command.replace(example, real)
            if name == "GET /sessions":
                assert run([BASH, "-euc", START_PLAYBACK], demo.folder, demo.variables).out.startswith("#EXTM3U")
            script = f'. .demo/env\n{command} --write-out "\n%{{http_code}}"'
            body, _, status = run([BASH, "-euc", script], demo.folder, demo.variables).out.rpartition("\n")
            assert int(status) == operation.status, f"{name}: {body}"
            assert (body == "") == (shown is None), name
            if shown is not None:
                response = json.loads(body)
                assert _difference(shown, response, "$") is None, name
                ids |= dict(_ids(shown, response))


def _playlist_name(channel: str) -> str:
    """A channel as the names of its playlist and of its folder have it."""
    return parse_arn(channel, "channel").playback_path.rpartition("/")[2].removesuffix(".m3u8")


def _stops_before_it_starts(operation: ManagementOperation) -> int:
    """The demo's stream is live, so the examples that stop and start it come last."""
    return {"/streams/stop": 1, "/streams/start": 2}.get(operation.path, 0)


def _ids(shown: Any, real: Any) -> Iterator[tuple[str, str]]:
    """Each id and token in the example, without its ellipsis, with the one in the same place of the response."""
    if isinstance(shown, dict):
        for key, value in shown.items():
            if key in ("id", "token", "sessionId") and isinstance(value, str):
                yield value.rstrip("…"), real[key]
            yield from _ids(value, real.get(key))
    elif isinstance(shown, list) and real:
        for one, other in zip(shown, real, strict=False):
            yield from _ids(one, other)


def _difference(shown: Any, real: Any, where: str) -> str | None:
    """The first place where the response has other members, or values of another type, than the example."""
    if shown is None or real is None:
        return None
    if isinstance(shown, dict) and isinstance(real, dict):
        if shown.keys() != real.keys():
            return f"{where} has {sorted(real)} instead of {sorted(shown)}"
        return next((d for key in shown if (d := _difference(shown[key], real[key], f"{where}.{key}"))), None)
    if isinstance(shown, list) and isinstance(real, list):
        if shown and not real:
            return f"{where} is empty"
        pairs = enumerate(zip(shown, real, strict=False))
        return next((d for n, (s, r) in pairs if (d := _difference(s, r, f"{where}[{n}]"))), None)
    return None if type(shown) is type(real) else f"{where} is {real!r}"
