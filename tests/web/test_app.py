"""The ASGI application: request ids, dispatch, errors and the access log."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from tests.support.asgi_client import AsgiResponse, make_receive, request, scope_of
from tests.support.captured_log import CapturedLog
from tests.support.clocks import ManualClock
from tokensvc.errors import NotAllowed, RequestTimeout
from tokensvc.http.body import ClientDisconnected, read_json
from tokensvc.http.problem_details import JSON, Response
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.context import RequestContext, Route

SECRET = "tsk_pasted_secret"


async def good(_scope: Scope, _receive: Receive, context: RequestContext) -> Response:
    context.caller = "shop"
    return Response(200, b'{"ok":true}', (JSON,), "ok")


async def rejecting(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    raise NotAllowed("not allowed", detail="the reason, for the log")


async def failing(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    raise ValueError(SECRET)


async def disconnecting(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    raise ClientDisconnected


async def reading(scope: Scope, receive: Receive, _context: RequestContext) -> Response:
    await read_json(scope, receive, 10)
    return Response(200, b"{}", (JSON,), "ok")


async def fallback(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/broken":
        raise ValueError(SECRET)
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(SECRET)
    await PlainTextResponse("from the fallback", 404)(scope, receive, send)


async def showing_parameters(scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    return Response(200, orjson.dumps(scope["path_params"]), (JSON,), "ok")


ROUTES = {
    "/things/{id}": [Route("GET", showing_parameters)],
    "/things/{id}/parts/{part}": [Route("GET", showing_parameters)],
    "/things/new": [Route("POST", good)],
    "/good": [Route("GET", good)],
    "/rejecting": [Route("POST", rejecting)],
    "/several": [Route("POST", rejecting), Route("GET", good)],
    "/failing": [Route("POST", failing)],
    "/disconnecting": [Route("POST", disconnecting)],
    "/reading": [Route("POST", reading)],
    "/probe": [Route("GET", good, logs_success=False)],
    "/failing-probe": [Route("GET", rejecting, logs_success=False)],
    "/broken-probe": [Route("GET", failing, logs_success=False)],
}


class LoggedApplication:
    """An application and its access log."""

    def __init__(self) -> None:
        self.writer = CapturedLog()
        clock = ManualClock()
        self.log = AccessLog(self.writer, clock, as_json=True)
        self.application = Application(ROUTES, fallback, clock, self.log)

    def request(self, method: str, path: str, body: bytes = b"") -> AsgiResponse:
        return asyncio.run(request(self.application, scope_of(method, path), body))

    def lines(self) -> str:
        return self.writer.text


@pytest.fixture
def app() -> LoggedApplication:
    return LoggedApplication()


def test_every_response_has_a_request_id_of_ours(app: LoggedApplication) -> None:
    first, second = app.request("GET", "/good"), app.request("GET", "/good")
    assert (first.status, first.json) == (200, {"ok": True})
    assert first.headers["content-length"] == str(len(first.body))
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-request-id"] in app.lines()


def test_successful_probes_are_not_logged_and_failed_ones_are(app: LoggedApplication) -> None:
    for method in ("GET", "HEAD"):
        assert app.request(method, "/probe").status == 200
    assert app.lines() == ""
    statuses = [app.request("GET", path).status for path in ("/failing-probe", "/broken-probe")]
    statuses.append(app.request("POST", "/probe").status)
    assert statuses == [403, 500, 405]
    assert [json.loads(line)["status"] for line in app.lines().splitlines()] == statuses


def test_a_request_id_of_the_client_is_ignored(app: LoggedApplication) -> None:
    response = asyncio.run(request(app.application, scope_of("GET", "/good", x_request_id="theirs\r\nset-cookie: x")))
    assert "theirs" not in response.headers["x-request-id"]


def test_a_wrong_method_is_405_with_the_allowed_ones(app: LoggedApplication) -> None:
    response = app.request("DELETE", "/good")
    assert (response.status, response.headers["allow"], response.json["code"]) == (405, "GET", "method_not_allowed")
    assert app.request("HEAD", "/good").status == 200
    assert app.request("HEAD", "/rejecting").status == 405


def test_a_path_can_have_several_methods(app: LoggedApplication) -> None:
    assert app.request("POST", "/several").status == 403
    assert (app.request("GET", "/several").status, app.request("HEAD", "/several").status) == (200, 200)
    response = app.request("DELETE", "/several")
    assert (response.status, response.headers["allow"]) == (405, "POST, GET")


def test_an_error_is_rendered_and_its_detail_logged(app: LoggedApplication) -> None:
    with capture_logs() as lines:
        response = app.request("POST", "/rejecting")
    assert (response.status, response.json["code"]) == (403, "not_allowed")
    assert "for the log" not in response.body.decode()
    assert [(line["code"], line["detail"]) for line in lines] == [("not_allowed", "the reason, for the log")]
    assert lines[0]["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/failing", "/broken"])
def test_an_unexpected_exception_is_a_fixed_text_and_its_message_is_dropped(app: LoggedApplication, path: str) -> None:
    with capture_logs() as lines:
        response = app.request("POST", path)
    assert (response.status, response.json["code"]) == (500, "internal_error")
    assert response.headers["x-request-id"] in response.json["detail"]
    assert SECRET not in response.body.decode() + str(lines) + app.lines()
    assert lines[0]["error"] == "ValueError"
    assert any("test_app" in frame for frame in lines[0]["frames"])


def test_a_response_that_broke_off_is_not_sent_twice(app: LoggedApplication) -> None:
    with capture_logs() as lines:
        response = app.request("GET", "/late")
    assert [message["type"] for message in response.sent] == ["http.response.start"]
    assert lines[0]["error"] == "ValueError"


def test_a_disconnected_client_gets_no_response(app: LoggedApplication) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app.application(scope_of("POST", "/disconnecting"), make_receive(b""), send))
    assert not sent
    assert not app.lines()


def test_unknown_paths_go_to_the_fallback_with_a_request_id(app: LoggedApplication) -> None:
    response = app.request("GET", f"/v1/{SECRET}")
    assert (response.status, response.body) == (404, b"from the fallback")
    assert response.headers["x-request-id"]
    assert '"path":"-"' in app.lines()
    assert SECRET not in app.lines()


def test_the_access_log_has_caller_route_and_result(app: LoggedApplication) -> None:
    app.request("GET", "/good")
    app.request("POST", "/reading", b"not json")
    first, second = app.lines().splitlines()
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
def test_a_body_must_be_an_object_within_the_limit(app: LoggedApplication, body: bytes, status: int, code: str) -> None:
    response = app.request("POST", "/reading", body)
    assert response.status == status
    assert response.json.get("code", "") == code


def test_a_malformed_body_is_not_repeated(app: LoggedApplication) -> None:
    for body in (b"tsk_paste", b'{"a":tsk', b"eyJhbG.x"):
        response = app.request("POST", "/reading", body)
        assert "tsk" not in response.body.decode()
        assert "eyJ" not in response.body.decode()


@pytest.mark.parametrize("length", ["11", "99999999999999999999", "-1", "x", "²", ""])
def test_a_too_large_content_length_is_rejected_without_reading(length: str) -> None:
    """An invalid Content-Length does not fail the request: the body itself is counted."""
    read_pieces: list[int] = []
    scope = scope_of("POST", "/reading", content_length=length)

    async def read() -> object:
        receive = make_receive([b'{"a"', b":1}"], lambda: read_pieces.append(1))
        return await read_json(scope, receive, 10)

    if length.isdecimal():
        with pytest.raises(Exception, match="at most 10"):
            asyncio.run(read())
        assert not read_pieces, "the rest was not awaited"
    else:
        assert asyncio.run(read()) == {"a": 1}


def test_a_body_in_pieces_is_read_up_to_the_limit() -> None:
    async def read(*pieces: bytes) -> object:
        return await read_json(scope_of(), make_receive(pieces), 10)

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

    async def fallback_app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(Application({}, fallback_app, ManualClock(), None)({"type": "lifespan"}, make_receive(b""), None))  # type: ignore[arg-type]
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
    app = LoggedApplication()
    assert app.request("GET", "/things/k1.a_b-c:d").json == {"id": "k1.a_b-c:d"}
    for no_id in ("a b", "\0", "é", "a" * 65, "a\n"):
        assert app.request("GET", f"/things/{no_id}").json == {"id": ""}
    assert app.request("GET", "/things/7/parts/9").json == {"id": "7", "part": "9"}
    for path in ("/things/", "/things/7/parts/", "/things/7/parts", "/things/7/8"):
        assert app.request("GET", path).body == b"from the fallback"
    assert app.request("POST", "/things/7").status == 405


def test_an_exact_path_precedes_a_template() -> None:
    assert LoggedApplication().request("POST", "/things/new").json == {"ok": True}


def test_path_parameters_are_not_logged() -> None:
    app = LoggedApplication()
    app.request("GET", f"/things/{SECRET}")
    assert '"path":"/things/{id}"' in app.lines()
    assert SECRET not in app.lines()
