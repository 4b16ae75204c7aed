"""The front door: an id for each request, the right endpoint, one form of failure, and nothing pasted in the log."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from tests.support.asgi_client import AsgiResponse, receiving, request, scope_of
from tests.support.captured_log import CapturedLog
from tests.support.clocks import ManualClock
from tokensvc.errors import NotAllowed, RequestTimeout
from tokensvc.http.body import ClientDisconnected, read_json
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.context import RequestContext, Route

SECRET = "tsk_pasted_secret"


async def good(_scope: Scope, _receive: Receive, exchange: RequestContext) -> Response:
    exchange.caller = "shop"
    return Response(200, b'{"ok":true}', (JSON,), "ok")


async def refusing(_scope: Scope, _receive: Receive, _exchange: RequestContext) -> Response:
    raise NotAllowed("you may not", detail="why, for the log")


async def failing(_scope: Scope, _receive: Receive, _exchange: RequestContext) -> Response:
    raise ValueError(SECRET)


async def leaving(_scope: Scope, _receive: Receive, _exchange: RequestContext) -> Response:
    raise ClientDisconnected


async def reading(scope: Scope, receive: Receive, _exchange: RequestContext) -> Response:
    await read_json(scope, receive, 10)
    return Response(200, b"{}", (JSON,), "ok")


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/broken":
        raise ValueError(SECRET)
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(SECRET)
    await PlainTextResponse("from behind", 404)(scope, receive, send)


async def naming(scope: Scope, _receive: Receive, _exchange: RequestContext) -> Response:
    return Response(200, orjson.dumps(scope["path_params"]), (JSON,), "ok")


ROUTES = {
    "/things/{id}": [Route("GET", naming)],
    "/things/{id}/parts/{part}": [Route("GET", naming)],
    "/things/new": [Route("POST", good)],
    "/good": [Route("GET", good)],
    "/refusing": [Route("POST", refusing)],
    "/several": [Route("POST", refusing), Route("GET", good)],
    "/failing": [Route("POST", failing)],
    "/leaving": [Route("POST", leaving)],
    "/reading": [Route("POST", reading)],
    "/probe": [Route("GET", good, logs_success=False)],
    "/failing-probe": [Route("GET", refusing, logs_success=False)],
    "/broken-probe": [Route("GET", failing, logs_success=False)],
}


class Door:
    """A front door and what it wrote to its log."""

    def __init__(self) -> None:
        self.writer = CapturedLog()
        clock = ManualClock()
        self.log = AccessLog(self.writer, clock, as_json=True)
        self.app = Application(ROUTES, behind, clock, self.log)

    def request(self, method: str, path: str, body: bytes = b"") -> AsgiResponse:
        return asyncio.run(request(self.app, scope_of(method, path), body))

    def lines(self) -> str:
        return self.writer.text


@pytest.fixture
def door() -> Door:
    return Door()


def test_every_response_has_a_request_id_of_ours(door: Door) -> None:
    first, second = door.request("GET", "/good"), door.request("GET", "/good")
    assert (first.status, first.json) == (200, {"ok": True})
    assert first.headers["content-length"] == str(len(first.body))
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-request-id"] in door.lines()


def test_successful_probes_are_not_logged_and_failed_ones_are(door: Door) -> None:
    for method in ("GET", "HEAD"):
        assert door.request(method, "/probe").status == 200
    assert door.lines() == ""
    statuses = [door.request("GET", path).status for path in ("/failing-probe", "/broken-probe")]
    statuses.append(door.request("POST", "/probe").status)
    assert statuses == [403, 500, 405]
    assert [json.loads(line)["status"] for line in door.lines().splitlines()] == statuses


def test_a_request_id_of_the_client_is_ignored(door: Door) -> None:
    reply = asyncio.run(request(door.app, scope_of("GET", "/good", x_request_id="theirs\r\nset-cookie: x")))
    assert "theirs" not in reply.headers["x-request-id"]


def test_a_wrong_method_is_405_with_the_allowed_ones(door: Door) -> None:
    reply = door.request("DELETE", "/good")
    assert (reply.status, reply.headers["allow"], reply.json["code"]) == (405, "GET", "method_not_allowed")
    assert door.request("HEAD", "/good").status == 200
    assert door.request("HEAD", "/refusing").status == 405


def test_a_path_can_have_several_methods(door: Door) -> None:
    assert door.request("POST", "/several").status == 403
    assert (door.request("GET", "/several").status, door.request("HEAD", "/several").status) == (200, 200)
    reply = door.request("DELETE", "/several")
    assert (reply.status, reply.headers["allow"]) == (405, "POST, GET")


def test_an_error_is_rendered_and_its_detail_logged(door: Door) -> None:
    with capture_logs() as lines:
        reply = door.request("POST", "/refusing")
    assert (reply.status, reply.json["code"]) == (403, "not_allowed")
    assert "for the log" not in reply.body.decode()
    assert [(line["code"], line["detail"]) for line in lines] == [("not_allowed", "why, for the log")]
    assert lines[0]["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/failing", "/broken"])
def test_an_unexpected_exception_is_a_fixed_text_and_its_message_is_dropped(door: Door, path: str) -> None:
    with capture_logs() as lines:
        reply = door.request("POST", path)
    assert (reply.status, reply.json["code"]) == (500, "internal_error")
    assert reply.headers["x-request-id"] in reply.json["detail"]
    assert SECRET not in reply.body.decode() + str(lines) + door.lines()
    assert lines[0]["error"] == "ValueError"
    assert any("test_app" in frame for frame in lines[0]["frames"])


def test_a_response_that_broke_off_is_not_sent_twice(door: Door) -> None:
    with capture_logs() as lines:
        reply = door.request("GET", "/late")
    assert [message["type"] for message in reply.sent] == ["http.response.start"]
    assert lines[0]["error"] == "ValueError"


def test_a_disconnected_client_gets_no_response(door: Door) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(door.app(scope_of("POST", "/leaving"), receiving(b""), send))
    assert not sent
    assert not door.lines()


def test_unknown_paths_go_to_the_fallback_with_a_request_id(door: Door) -> None:
    reply = door.request("GET", f"/v1/{SECRET}")
    assert (reply.status, reply.body) == (404, b"from behind")
    assert reply.headers["x-request-id"]
    assert '"path":"-"' in door.lines()
    assert SECRET not in door.lines()


def test_the_access_log_has_caller_route_and_result(door: Door) -> None:
    door.request("GET", "/good")
    door.request("POST", "/reading", b"not json")
    first, second = door.lines().splitlines()
    for part in ('"path":"/good"', '"status":200', '"code":"ok"', '"caller":"shop"', '"client":"192.0.2.7"'):
        assert part in first
    assert '"status":400' in second
    assert "malformed_request" in second


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 200, ""),
        (b"[]", 400, "malformed_request"),
        (b"", 400, "malformed_request"),
        (b"{", 400, "malformed_request"),
        (b'"\xff"', 400, "malformed_request"),
        (b"[" * 9, 400, "malformed_request"),
        (b'{"a": "too long"}', 413, "request_too_large"),
    ],
)
def test_a_body_must_be_an_object_within_the_limit(door: Door, body: bytes, status: int, code: str) -> None:
    reply = door.request("POST", "/reading", body)
    assert reply.status == status
    assert reply.json.get("code", "") == code


def test_a_malformed_body_is_not_repeated(door: Door) -> None:
    for body in (b"tsk_paste", b'{"a":tsk', b"eyJhbG.x"):
        reply = door.request("POST", "/reading", body)
        assert "tsk" not in reply.body.decode()
        assert "eyJ" not in reply.body.decode()


@pytest.mark.parametrize("length", ["11", "99999999999999999999", "-1", "x", "²", ""])
def test_a_too_large_content_length_is_rejected_without_reading(length: str) -> None:
    """And a head that says nonsense is no reason to fail: the body itself is counted."""
    taken: list[int] = []
    scope = scope_of("POST", "/reading", content_length=length)

    async def read() -> object:
        receive = receiving([b'{"a"', b":1}"], lambda: taken.append(1))
        return await read_json(scope, receive, 10)

    if length.isdecimal():
        with pytest.raises(Exception, match="at most 10"):
            asyncio.run(read())
        assert not taken, "the rest was not waited for"
    else:
        assert asyncio.run(read()) == {"a": 1}


def test_a_body_in_pieces_is_read_up_to_the_limit() -> None:
    async def read(*pieces: bytes) -> object:
        return await read_json(scope_of(), receiving(pieces), 10)

    assert asyncio.run(read(b"{", b'"a"', b":", b"1}")) == {"a": 1}
    with pytest.raises(Exception, match="at most 10"):
        asyncio.run(read(b'{"a":', b'"', b"x" * 20, b'"}'))


def test_a_disconnect_within_the_body_is_detected() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnected):
        asyncio.run(read_json(scope_of(), receive, 10))


def test_lifespan_goes_to_the_fallback() -> None:
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(Application({}, app, ManualClock(), None)({"type": "lifespan"}, receiving(b""), None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_a_slow_body_times_out() -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(RequestTimeout, match="within 0"):
        asyncio.run(read_json(scope_of(), receive, 1000, within_seconds=0.1))


def test_a_body_that_never_starts_times_out() -> None:
    async def receive() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(RequestTimeout, match="within 0"):
        asyncio.run(read_json(scope_of(), receive, 1000, within_seconds=0.1))


def test_a_path_parameter_matches_an_id_and_never_nothing() -> None:
    door = Door()
    assert door.request("GET", "/things/k1.a_b-c:d").json == {"id": "k1.a_b-c:d"}
    for no_id in ("a b", "\0", "é", "a" * 65, "a\n"):
        assert door.request("GET", f"/things/{no_id}").json == {"id": ""}
    assert door.request("GET", "/things/7/parts/9").json == {"id": "7", "part": "9"}
    for path in ("/things/", "/things/7/parts/", "/things/7/parts", "/things/7/8"):
        assert door.request("GET", path).body == b"from behind"
    assert door.request("POST", "/things/7").status == 405


def test_an_exact_path_precedes_a_template() -> None:
    assert Door().request("POST", "/things/new").json == {"ok": True}


def test_path_parameters_are_not_logged() -> None:
    door = Door()
    door.request("GET", f"/things/{SECRET}")
    assert '"path":"/things/{id}"' in door.lines()
    assert SECRET not in door.lines()
