"""The ASGI application: request ids, dispatch, errors and the access log."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
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
from tokensvc.log import structlog
from tokensvc.metrics import HandledRequest
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.context import RequestContext, Route
from tokensvc.web.request_traces import RequestTracer

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


class CountedApplication:
    """An application that counts its requests, with a limit on those in flight."""

    def __init__(self, tracer: RequestTracer | None = None, max_in_flight: int = 1000) -> None:
        self.counted: list[HandledRequest] = []
        self.writer, clock = CapturedLog(), ManualClock()
        self.application = Application(
            ROUTES | {"/logging": [Route("GET", logging_endpoint)]},
            fallback,
            clock,
            AccessLog(self.writer, clock, as_json=True),
            count_request=lambda request: self.counted.append(HandledRequest(*request)),
            tracer=tracer,
            max_in_flight=max_in_flight,
        )

    def request(self, method: str, path: str, **headers: str) -> AsgiResponse:
        return asyncio.run(request(self.application, scope_of(method, path, **headers)))


async def logging_endpoint(_scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    structlog.get_logger("tokensvc.test").warning("of an endpoint")
    return Response(200, b"{}", (JSON,), "ok")


def test_every_request_is_counted_once_under_its_route_never_under_its_path() -> None:
    app = CountedApplication()
    requests = [
        ("GET", f"/things/{SECRET}", "/things/{id}", 200),
        ("GET", "/probe", "/probe", 200),
        ("POST", "/rejecting", "/rejecting", 403),
        ("DELETE", "/good", "/good", 405),
        ("POST", "/failing", "/failing", 500),
        ("GET", f"/{SECRET}", "-", 404),
        ("GET", "/broken", "-", 500),
    ]
    for method, path, _, _ in requests:
        app.request(method, path)
    assert [(r.method, r.route, r.status) for r in app.counted] == [
        (method, route, status) for method, _, route, status in requests
    ]
    assert all((r.trace_id, r.is_sampled) == ("", False) for r in app.counted)
    assert [json.loads(line)["request_id"] for line in app.writer.text.splitlines()] == [
        r.request_id for r in app.counted if r.route != "/probe"
    ]


def test_what_an_overloaded_worker_rejects_is_counted_and_not_logged() -> None:
    app = CountedApplication(max_in_flight=0)
    assert app.request("GET", f"/things/{SECRET}").status == 503
    [rejected] = app.counted
    assert (rejected.route, rejected.status, rejected.code, rejected.seconds) == ("/things/{id}", 503, "overloaded", 0)
    assert app.writer.text == ""


def test_a_client_that_disconnects_is_not_counted() -> None:
    app = CountedApplication()
    with pytest.raises(IndexError):
        app.request("POST", "/disconnecting")
    assert app.counted == []


def test_the_log_lines_of_a_request_have_its_id_and_those_of_others_do_not() -> None:
    app, seen = CountedApplication(), list[str]()
    for _ in range(2):
        with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
            response = app.request("GET", "/logging")
        assert lines[0]["request_id"] == response.headers["x-request-id"]
        seen.append(lines[0]["request_id"])
    assert len(set(seen)) == 2
    assert structlog.contextvars.get_contextvars() == {}


class Span:
    """A span of a test's own."""

    def __init__(self, ended: list[HandledRequest]) -> None:
        self.ended = ended

    def end(self, request: HandledRequest) -> tuple[str, bool]:
        self.ended.append(request)
        return "trace-1", True


class Tracer:
    """Notes what the application asks of it."""

    def __init__(self) -> None:
        self.ended: list[HandledRequest] = []
        self.closed = 0

    @contextlib.contextmanager
    def start(self, scope: Scope) -> Iterator[Span]:
        with structlog.contextvars.bound_contextvars(trace_id="trace-1"):
            yield Span(self.ended)
        self.closed += 1

    def trace_id(self, scope: Scope) -> str:
        return "trace-2"

    def record(self, scope: Scope, request: HandledRequest) -> tuple[str, bool]:
        self.ended.append(request)
        return "trace-2", False


def test_with_a_tracer_a_request_has_a_span_and_its_lines_have_the_trace_id() -> None:
    tracer = Tracer()
    app = CountedApplication(tracer)
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        app.request("GET", "/logging")
    assert lines[0]["trace_id"] == "trace-1"
    assert json.loads(app.writer.text)["trace_id"] == "trace-1"
    assert [(r.route, r.status, r.trace_id) for r in tracer.ended] == [("/logging", 200, "")]
    assert [(r.route, r.trace_id, r.is_sampled) for r in app.counted] == [("/logging", "trace-1", True)]


def test_the_span_of_a_client_that_disconnects_is_closed() -> None:
    tracer = Tracer()
    with pytest.raises(IndexError):
        CountedApplication(tracer).request("POST", "/disconnecting")
    assert (tracer.ended, tracer.closed) == ([], 1)
