"""The watch page over HTTP: its files, its API, and whose requests it accepts."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from tests.local_ivs.watch.watch_site import REGION, WatchSite, watch_site
from tests.support.asgi_client import make_receive, scope_of
from tests.support.http_client import Client
from tokensvc.container.watch_key import OwnKeyTokens
from tokensvc.local_ivs.watch.actions import ACTIONS
from tokensvc.local_ivs.watch.mounting import watch_page

pytestmark = pytest.mark.slow


def test_the_page_and_its_files_are_served_with_a_strict_policy(site: WatchSite) -> None:
    with Client(site.url) as client:
        for path in ("/watch", "/watch/", "/watch/static/main.js", "/watch/static/hls.light.min.js"):
            response = client.get(path)
            assert response.status == 200, path
            assert response.headers["content-security-policy"].startswith("default-src 'none'")
            assert response.headers["x-content-type-options"] == "nosniff"
            again = client.request("GET", path, headers={"if-none-match": response.headers["etag"]})
            assert (again.status, again.body, "content-length" in again.headers) == (304, b"", False)


def test_a_head_has_the_headers_and_no_body(site: WatchSite) -> None:
    with Client(site.url) as client:
        response = client.request("HEAD", "/watch")
    assert (response.status, response.body) == (200, b"")
    assert int(response.headers["content-length"]) > 1000


@pytest.mark.parametrize(
    "path", ["/watch/none", "/watch/static/", "/watch/static/../page.py", "/watch/static/page.py", "/watch/api/none"]
)
def test_what_is_not_there_is_a_problem(path: str, site: WatchSite) -> None:
    with Client(site.url) as client:
        response = client.get(path)
    assert (response.status, response.json["code"]) == (404, "route_not_found")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/watch", "GET, HEAD"),
        ("DELETE", "/watch/static/main.js", "GET, HEAD"),
        ("GET", "/watch/api/tokens", "POST"),
        ("PUT", "/watch/api/overview", "GET, HEAD"),
    ],
)
def test_another_method_is_refused_with_those_that_are_allowed(
    method: str, path: str, allowed: str, site: WatchSite
) -> None:
    with Client(site.url) as client:
        response = client.request(method, path)
    assert (response.status, response.json["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == allowed


def test_the_api_of_ivs_and_the_edge_are_where_they_were(site: WatchSite) -> None:
    with Client(site.url) as client:
        assert client.request("POST", "/ListChannels", "{}").status == 403
        assert client.get("/watching").status == 403
        assert client.get("/api/video/v1/x.m3u8").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": ""},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://localhost:1"},
    ],
)
def test_an_action_of_another_page_is_refused(headers: dict[str, str], site: WatchSite) -> None:
    response = site.act("channels", {"name": "from-elsewhere"}, **headers)
    assert (response.status, response.json["code"]) == (403, "not_same_origin")
    assert "from-elsewhere" not in [channel["name"] for channel in site.read()["channels"]]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_an_action_must_send_json(content_type: str, site: WatchSite) -> None:
    """A form of another site can send these without a preflight."""
    response = site.act("channels", {"name": "from-elsewhere"}, content_type=content_type)
    assert (response.status, response.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example"]
)
@pytest.mark.parametrize("path", ["/watch", "/watch/api/overview"])
def test_a_name_that_is_not_this_machines_is_refused(host: str, path: str, site: WatchSite) -> None:
    """DNS rebinding: a page of evil.example whose name was made to resolve to 127.0.0.1."""
    with Client(site.url) as client:
        response = client.request("GET", path, headers={"host": host})
    assert (response.status, response.json["code"]) == (403, "not_same_origin")


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9", "[::1]:8080", "192.0.2.7", "ivs.localhost", "ivs.example"]
)
def test_names_of_this_machine_and_the_public_host_are_accepted(host: str) -> None:
    with watch_site(public_url="https://ivs.example") as site, Client(site.url) as client:
        assert client.request("GET", "/watch", headers={"host": host}).status == 200


def test_the_page_may_be_used_from_every_address_that_reaches_the_listener(site: WatchSite) -> None:
    """As docs/how-to/watch.md warns about `--host 0.0.0.0`: the address of a client is not checked."""
    components = site.components
    page = watch_page(components, OwnKeyTokens(components.ivs, components.clock), REGION)
    origin = {"host": "192.0.2.1:4599", "origin": "http://192.0.2.1:4599", "content_type": "application/json"}
    scope = scope_of("POST", "/watch/api/channels", **origin) | {"client": ("192.0.2.7", 5000)}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(page(scope, make_receive(b'{"name": "of-another-machine"}'), send))
    assert sent[0]["status"] == 201
    assert "of-another-machine" in [channel["name"] for channel in site.read()["channels"]]


def test_no_response_may_be_read_by_another_site(site: WatchSite) -> None:
    with Client(site.url) as client:
        response = client.request("GET", "/watch/api/overview", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_body_that_is_too_large_or_no_json_is_a_problem(site: WatchSite) -> None:
    assert site.act("metadata", {"channelArn": "x" * 20_000, "metadata": ""}).status == 413
    assert site.act("metadata", [1]).json["code"] == "malformed_request"


def test_a_page_that_closes_before_its_request_is_complete_is_not_an_error(site: WatchSite) -> None:
    components = site.components
    page = watch_page(components, OwnKeyTokens(components.ivs, components.clock), REGION)
    scope = scope_of(
        "POST",
        "/watch/api/rotations",
        host="localhost",
        origin="http://localhost",
        content_type="application/json",
    )

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pytest.fail(f"nobody is there to get {message}")

    with capture_logs() as logged:
        asyncio.run(page(scope, receive, send))
    assert logged == []


def test_an_error_of_ivs_keeps_its_code_and_status(site: WatchSite) -> None:
    arn = site.create_channel()
    assert site.act("streams", {"channelArn": arn, "live": False}).status == 200
    response = site.act("metadata", {"channelArn": arn, "metadata": "x"})
    assert (response.status, response.json["code"]) == (404, "ChannelNotBroadcasting")
    response = site.act("ad-breaks", {"channelArn": arn, "durationSeconds": 10})
    assert response.json["code"] == "ChannelNotBroadcasting"


def test_every_wrong_field_is_named(site: WatchSite) -> None:
    response = site.act("explanations", {"channelArn": "x", "token": 1, "extra": True})
    assert response.status == 422
    assert {error["field"] for error in response.json["errors"]} == {"channelArn", "token", "origin", "extra"}


HOSTILE = (
    *("null", "true", "1e999", '""', "[]", "{}", "\x00", "\U0001f3ac", "'", "%00", "../../x", "<script>"),
    *('"\\ud800"', '"\\u0000"', "9" * 400, "-1", '{"a":' * 200 + "1" + "}" * 200, '"' + "x" * 9000 + '"'),
)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_hostile_bodies_are_errors_of_the_client(name: str, site: WatchSite) -> None:
    """In place of the body, of each field, and of the value of a field that is otherwise right."""
    arn = site.create_channel()
    headers = {"content-type": "application/json", "origin": site.url}
    fields = ("channelArn", "viewerId", "token", "origin", "metadata", "durationSeconds", "live", "name", "ads")
    with Client(site.url) as client:
        for text in HOSTILE:
            quoted = text if text[0] in '"[{-0123456789nt' else json.dumps(text)
            bodies = [text, *(f'{{"channelArn": "{arn}", "{field}": {quoted}}}' for field in fields)]
            for body in bodies:
                response = client.request("POST", f"/watch/api/{name}", body.encode(), headers)
                assert response.status < 500, (name, body[:100], response.body)


@pytest.mark.parametrize(
    "query", ["channelArn=%00", "channelArn=%ff", "sessionId=%ed%a0%80", "x" * 2000, "a=b&a=c", "%"]
)
def test_hostile_queries_are_harmless(query: str, site: WatchSite) -> None:
    with Client(site.url) as client:
        assert client.get(f"/watch/api/overview?{query}").status == 200
