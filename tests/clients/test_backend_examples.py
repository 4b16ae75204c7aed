"""The examples of backends give their page tokens that play, and tell it nothing that it must not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.responses import Response as Scripted

from tests.clients.example_backends import EXAMPLE_NAMES, Backend, running_example
from tests.clients.scripted_proxy import ScriptedProxy, scripted_proxy
from tests.support.demo import Demo, running_demo
from tests.support.http_client import Client, Response
from tests.support.processes import wait_until

pytestmark = [pytest.mark.long, pytest.mark.e2e]
PATH = "/api/playback/main-stage"


class Example(NamedTuple):
    """An example, and what it depends on."""

    backend: Backend
    proxy: ScriptedProxy
    demo: Demo

    def ask(self, viewer: str = "ada", path: str = PATH) -> Response:
        """Request a token as the viewer's page does. No response may hold the API key or a problem of tokensvc."""
        with Client(self.backend.url) as client:
            headers = {"cookie": f"session=session-of-{viewer}"} if viewer else {}
            response = client.request("POST", path, b"", headers)
        seen = f"{dict(response.headers)} {response.body!r}"
        assert self.demo.info["apiKey"] not in seen
        assert "urn:tokensvc" not in seen
        assert "tokensvc" not in seen.lower().replace(str(response.headers.get("server", "")).lower(), "")
        return response


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        with Client(running.info["url"], running.info["apiKey"]) as client:
            body = {"channelArn": running.info["channelArn"], "subject": "eve@example.com", "denySeconds": 3600}
            assert client.request("POST", "/v1/denials", json.dumps(body)).status == 201
        yield running


@pytest.fixture(scope="module", params=EXAMPLE_NAMES)
def example(request: pytest.FixtureRequest, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("backend") / request.param
    info = demo.info
    with (
        scripted_proxy(info["url"]) as proxy,
        running_example(request.param, folder, proxy.url, info["apiKey"], info["channelArn"]) as backend,
    ):
        yield Example(backend, proxy, demo)


def test_a_signed_in_viewer_gets_a_url_that_plays_on_its_page(example: Example) -> None:
    # The demo's first response may be 503, until it knows the channel's playback URL.
    response = wait_until(lambda: (found := example.ask()).status == 200 and found, "the page gets a token")
    assert response
    assert response.json.keys() == {"playbackUrl", "expiresAt", "refreshAfter"}
    assert response.headers["cache-control"] == "no-store"
    served_at = parsedate_to_datetime(response.headers["date"])
    remaining = datetime.fromisoformat(response.json["refreshAfter"]) - served_at
    # 80 % of the demo's 120 seconds. uvicorn renews its `Date` once a second, on a busy machine later.
    assert 85 <= remaining.total_seconds() <= 99
    url, _, path = response.json["playbackUrl"].partition("/api/video")
    with Client(url) as edge:
        playlist = edge.request("GET", f"/api/video{path}", headers={"origin": example.backend.url})
    assert playlist.status == 200
    assert playlist.headers["access-control-allow-origin"] == example.backend.url


@pytest.mark.parametrize(
    ("viewer", "path", "status"),
    [("", PATH, 401), ("mallory", PATH, 401), ("ada", "/api/playback/another", 404)],
)
def test_nobody_else_and_nothing_else_costs_a_token(example: Example, viewer: str, path: str, status: int) -> None:
    before = example.proxy.requests
    assert example.ask(viewer, path).status == status
    assert example.proxy.requests == before


def test_a_denied_viewer_gets_a_403_without_details(example: Example) -> None:
    response = wait_until(lambda: (found := example.ask("eve")).status == 403 and found, "the denial takes effect")
    assert response
    assert response.json == {"error": "playback is not available"}


@pytest.mark.parametrize(
    ("scripted", "status", "retry_after"),
    [
        pytest.param((429, "rate_limited", "30"), 429, "30", id="rate limited"),
        pytest.param((503, "playback_url_unavailable", "30"), 503, "30", id="no playback URL yet"),
        pytest.param((403, "channel_not_allowed", None), 502, None, id="wrong channel"),
        pytest.param((401, "unauthenticated", None), 502, None, id="wrong API key"),
        pytest.param((422, "invalid_request", None), 502, None, id="wrong request"),
    ],
)
def test_what_can_pass_is_passed_on_with_retry_after_and_the_rest_is_hidden(
    example: Example, scripted: tuple[int, str, str | None], status: int, retry_after: str | None
) -> None:
    code, problem, wait = scripted
    body = {"type": f"urn:tokensvc:problem:{problem}", "title": problem, "status": code, "detail": "d", "code": problem}
    headers = {"retry-after": wait} if wait else {}
    example.proxy.script.append(Scripted(json.dumps(body), code, headers, "application/problem+json"))
    response = example.ask()
    assert (response.status, response.headers.get("retry-after")) == (status, retry_after)
    assert response.headers["cache-control"] == "no-store"
    example.proxy.script.clear()
    assert problem in example.backend.log.read_text(), "an operator finds the code in the log"


@pytest.mark.parametrize("page", [Scripted("<p>bad gateway", 502, media_type="text/html"), Scripted("{", 503)])
def test_a_proxys_page_is_a_503(example: Example, page: Scripted) -> None:
    example.proxy.script.extend([page, page, page])
    response = example.ask()
    example.proxy.script.clear()
    assert response.status == 503
    assert int(response.headers["retry-after"]) >= 1


def test_the_page_and_its_player_are_served(example: Example) -> None:
    with Client(example.backend.url) as client:
        signed_in = client.request("GET", "/sign-in/ada")
        assert (signed_in.status, signed_in.headers["location"]) == (303, "/")
        assert "HttpOnly" in signed_in.headers["set-cookie"]
        assert "samesite=lax" in signed_in.headers["set-cookie"].lower()
        assert b"player.js" in client.get("/").body
        module = client.get("/tokensvc-client.js")
        assert module.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_without_tokensvc_the_page_is_told_to_try_again(name: str, tmp_path: Path) -> None:
    arn = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
    with (
        running_example(name, tmp_path / name, "http://127.0.0.1:9", "tsk_example_key", arn) as backend,
        Client(backend.url) as client,
    ):
        response = client.request("POST", PATH, b"", {"cookie": "session=session-of-ada"})
    assert response.status == 503
    assert int(response.headers["retry-after"]) >= 1
