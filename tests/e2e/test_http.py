"""The HTTP interface with raw sockets, floods, garbage and every route."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.deployment import Deployment, Service, free_port
from tests.support.http_client import Client

HEAD_MAX_BYTES = 16 * 1024
TOKEN_REQUEST_MAX_BYTES = 16 * 1024
BATCH_MAX_BYTES = 1024 * 1024
PAUSE_SECONDS = 0.02
"""Between parts, so that each is read by itself."""


def _connect(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    connection = socket.create_connection((str(address.hostname), address.port or 0), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one complete response from a keep-alive connection."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, stream.read(int(headers.get("content-length", "0")))


def _send_parts(service: Service, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send the parts in turn and read one response; the service may stop reading before the last part."""
    with _connect(service) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(PAUSE_SECONDS)
        return _read_response(connection)


def _post(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def _assert_problem(response: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    actual_status, headers, body = response
    problem = json.loads(body)
    assert (actual_status, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"]


def test_headers_are_limited_to_16_kib(service: Service) -> None:
    fits = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (HEAD_MAX_BYTES - 100) + b"\r\n\r\n"
    assert _send_parts(service, fits)[0] == 200
    whole = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * HEAD_MAX_BYTES + b"\r\n\r\n"
    _assert_problem(_send_parts(service, whole), 431, "headers_too_large")
    line = b"GET /livez?" + b"x" * HEAD_MAX_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    _assert_problem(_send_parts(service, line), 431, "headers_too_large")


@pytest.mark.parametrize("flood", [b"X-A: " + b"a" * 1000 + b"\r\n", b"x" * 1000], ids=["many headers", "one header"])
def test_unterminated_headers_are_rejected_while_they_arrive(service: Service, flood: bytes) -> None:
    _assert_problem(
        _send_parts(service, b"GET /livez HTTP/1.1\r\nHost: x\r\nX: y", *[flood] * 20), 431, "headers_too_large"
    )


def test_unterminated_headers_after_an_early_response_are_rejected(service: Service) -> None:
    with _connect(service) as connection:
        connection.sendall(_post("/v1/tokens", "Content-Length: 5"))
        assert _read_response(connection)[0] == 401
        connection.sendall(b"12345")
        time.sleep(PAUSE_SECONDS)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: y")
        for _ in range(20):
            time.sleep(PAUSE_SECONDS)
            try:
                connection.sendall(b"x" * 1000)
            except (BrokenPipeError, ConnectionResetError):
                break
        _assert_problem(_read_response(connection), 431, "headers_too_large")


def test_large_bodies_on_a_keep_alive_connection_do_not_count_as_headers(caller: Client, channel: Any) -> None:
    requests = [{"channelArn": channel["arn"], "viewerId": "v" * 40}] * 300
    first, second = caller.request_batch(requests), caller.request_batch(requests)
    assert (first.status, second.status, first.worker) == (200, 200, second.worker)


def test_a_too_large_body_is_rejected_declared_or_chunked(service: Service, key: str, caller: Client) -> None:
    bearer = f"Authorization: Bearer {key}"
    for path, limit in (("/v1/tokens", TOKEN_REQUEST_MAX_BYTES), ("/v1/tokens/batch", BATCH_MAX_BYTES)):
        declared = caller.request("POST", path, b"{" + b" " * limit + b"}")
        assert (declared.status, declared.json["code"]) == (413, "request_too_large")
        head = _post(path, bearer, f"Content-Length: {limit + 1}")
        _assert_problem(_send_parts(service, head, b"{"), 413, "request_too_large")
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        chunked = (_post(path, bearer, "Transfer-Encoding: chunked"), *[chunk] * (limit // 0x8000 + 1))
        _assert_problem(_send_parts(service, *chunked), 413, "request_too_large")
    assert caller.get("/livez").status == 200


def test_a_client_rejected_before_its_body_can_read_the_response(service: Service) -> None:
    """The response precedes the body; the connection stays open until the client has read it, and longer."""
    body = b'{"requests": [' + b" " * (BATCH_MAX_BYTES - 100) + b"]}"
    with service.client("tsk_0_0") as unauthenticated:
        for _ in range(5):
            assert unauthenticated.request("POST", "/v1/tokens/batch", body).status == 401
    head = _post("/v1/tokens/batch", f"Content-Length: {len(body)}")
    with _connect(service) as connection:
        connection.sendall(head)
        assert _read_response(connection)[0] == 401
        for at in range(0, len(body), 0x8000):
            connection.sendall(body[at : at + 0x8000])
        time.sleep(PAUSE_SECONDS)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _read_response(connection)[0] == 200


def test_chunked_bodies_are_supported(service: Service, key: str, channel: Any) -> None:
    body = json.dumps({"channelArn": channel["arn"], "viewerId": "ada"}).encode()
    pieces = [b"%x\r\n%s\r\n" % (len(body[at : at + 20]), body[at : at + 20]) for at in range(0, len(body), 20)]
    head = _post("/v1/tokens", f"Authorization: Bearer {key}", "Transfer-Encoding: chunked")
    assert _send_parts(service, head, *pieces, b"0\r\n\r\n")[0] == 201


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"],
    ids=["TLS", "text", "unknown version"],
)
def test_input_that_is_not_http_is_a_400(service: Service, garbage: bytes) -> None:
    _assert_problem(_send_parts(service, garbage), 400, "malformed_request")


def test_bodies_that_are_not_json_objects_are_a_400(caller: Client) -> None:
    for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": 1} x', b"[" * 10_000, b'{"a": NaN}'):
        response = caller.request("POST", "/v1/tokens", body)
        assert (response.status, response.json["code"]) == (400, "malformed_request"), body


def test_connections_stay_open_unless_the_client_sends_close(service: Service) -> None:
    with _connect(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = _read_response(connection)
        assert status == 200
        assert headers.get("connection", "keep-alive") == "keep-alive"
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status, headers, _ = _read_response(connection)
        assert (status, headers["connection"]) == (200, "close")
        assert connection.recv(1) == b""
    with _connect(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert _read_response(connection)[0] == 200
        assert connection.recv(1) == b""


def test_head_returns_the_headers_of_get_without_a_body(caller: Client) -> None:
    for path in ("/livez", "/readyz", "/openapi.json", "/.well-known/jwks.json"):
        get, head = caller.get(path), caller.request("HEAD", path)
        assert (head.status, head.body) == (get.status, b"") == (200, b"")
        assert head.headers["content-length"] == str(len(get.body))
        assert head.headers["content-type"] == get.headers["content-type"]


def test_every_response_has_a_unique_request_id_of_ours(caller: Client, service: Service) -> None:
    responses = [
        caller.request(method, path, headers={"x-request-id": "mine"})
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW")
        for path in ("/", "/livez", "/v1/tokens", "/v1/nothing", "/metrics", "/%00", "//", "/v1/tokens/")
    ]
    responses = [response for response in responses if response.headers.get("content-type") != "text/html"]
    ids = [response.headers["x-request-id"] for response in responses]
    assert len(set(ids)) == len(ids)
    assert "mine" not in ids
    assert {response.status for response in responses} <= {200, 400, 401, 404, 405, 422}


def test_unknown_routes_are_404_and_wrong_methods_name_the_allowed_one(caller: Client) -> None:
    missing = caller.get("/v1/nothing")
    assert (missing.status, missing.json["code"]) == (404, "route_not_found")
    wrong = caller.get("/v1/tokens")
    assert (wrong.status, wrong.json["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_with_an_admin_port_the_public_port_serves_no_metrics(deployment: Deployment) -> None:
    port = free_port()
    with (
        deployment.serve(ADMIN_PORT=str(port)) as service,
        service.client() as public,
        Client(f"http://127.0.0.1:{port}") as admin,
    ):
        assert public.get("/metrics").status == 404
        assert (public.get("/v1/keys").status, admin.get("/v1/keys").status) == (404, 401)
        assert b"tokensvc_token_requests_total" in admin.get("/metrics").body
        assert admin.request("POST", "/v1/tokens").status == 404
        assert public.request("POST", "/v1/tokens").status == 401
        assert "/metrics" not in public.get("/openapi.json").json["paths"]
        assert (admin.get("/livez").status, admin.get("/readyz").status) == (200, 200)
        missing = admin.get("/v1/nothing")
        assert missing.status == 404
        assert "/openapi.json" in missing.json["detail"]
        assert set(admin.get("/openapi.json").json["paths"]) == {
            "/livez",
            "/metrics",
            "/v1/audit",
            "/openapi.json",
            "/readyz",
            "/v1/keys",
            "/v1/keys/rotate",
            "/v1/keys/rotations/{id}",
            "/v1/keys/{id}",
            "/v1/keys/{id}/compromise",
            "/v1/status",
        }


def test_successful_probes_and_scrapes_are_not_logged(deployment: Deployment, key: str, channel: Any) -> None:
    port = free_port()
    with (
        deployment.serve(ADMIN_PORT=str(port)) as service,
        service.client(key) as caller,
        Client(f"http://127.0.0.1:{port}") as admin,
    ):
        for client in (caller, admin):
            assert [client.get(path).status for path in ("/livez", "/readyz")] == [200, 200]
        assert admin.get("/metrics").status == 200
        assert caller.get("/metrics").status == 404
        caller.token(channelArn=channel["arn"], viewerId="behind")
        service.process.wait_until(lambda: '"path":"/v1/tokens"' in service.process.err, "the log lines are written")
        requests = [line for line in service.process.err.splitlines() if '"event":"request"' in line]
        assert [(json.loads(line)["path"], json.loads(line)["status"]) for line in requests] == [
            ("-", 404),
            ("/v1/tokens", 201),
        ]


def test_behind_a_proxy_and_with_an_admin_port_tokens_are_issued_and_the_log_names_the_client(
    deployment: Deployment, key: str, channel: Any
) -> None:
    port = free_port()
    with (
        deployment.serve(ADMIN_PORT=str(port), TRUSTED_PROXIES="127.0.0.1") as service,
        service.client(key) as caller,
        Client(f"http://127.0.0.1:{port}", key) as admin,
    ):
        body = json.dumps({"channelArn": channel["arn"], "viewerId": "behind"})
        for client in ("198.51.100.9", "198.51.100.9", "203.0.113.5"):
            response = caller.request("POST", "/v1/tokens", body, {"x-forwarded-for": client})
            assert response.status == 201, response.body
        assert (caller.get("/livez").status, admin.request("POST", "/v1/tokens", body).status) == (200, 404)
        service.process.wait_until(lambda: "203.0.113.5" in service.process.err, "the log lines are written")
        lines = [line for line in service.process.err.splitlines() if '"path":"/v1/tokens"' in line]
        clients = [json.loads(line)["client"] for line in lines]
        assert clients[:3] == ["198.51.100.9", "198.51.100.9", "203.0.113.5"]
