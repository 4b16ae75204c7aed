"""Both clients over real connections, with a server that responds, stalls, hangs up or lies as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.client_calls import API_KEY, KINDS, ClientCalls
from tests.support.scripted_server import (
    ReceivedRequest,
    ScriptedServer,
    http_response,
    on_connection,
    problem,
    reset,
    scripted_server,
)
from tokensvc import __version__
from tokensvc.client import (
    AsyncTokensClient,
    DenialRequest,
    InvalidRequestError,
    InvalidResponseError,
    NoResponseError,
    NotFoundError,
    PlaybackToken,
    ProblemCode,
    RateLimitedError,
    RetryPolicy,
    RevocationRequest,
    ServerError,
    TokenRequest,
    TokensClient,
    TokensError,
    UnauthenticatedError,
    UnavailableError,
)
from tokensvc.client.connection import MAX_RESPONSE_BYTES

pytestmark = pytest.mark.slow

CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
REQUEST = TokenRequest(CHANNEL, viewer_id="viewer-17")
TOKEN = {
    "token": "eyJhbGciOiJFUzM4NCJ9.e30.c2lnbmF0dXJl",
    "expiresAt": "2026-11-21T10:02:00Z",
    "refreshAfter": "2026-11-21T10:01:36Z",
    "requiresOriginHeader": False,
}
ISSUED = http_response(201, TOKEN)
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest) -> ClientCalls:
    return ClientCalls(request.param)


def _tokens(request: ReceivedRequest) -> bytes:
    """A token for each request of a batch, and a problem for each whose viewer id is one."""
    results: list[object] = []
    for each in request.json["requests"]:
        code = each.get("viewerId", "")
        status = {"rate_limited": 429, "viewer_denied": 403}.get(code)
        failure = {"problem": {"status": status, "code": code, "detail": "x", "retryAfterSeconds": 2}}
        results.append(failure if status else TOKEN | {"viewerId": code})
    return http_response(200, {"results": results})


def test_a_request_has_the_api_key_json_and_the_name_of_the_client(client: ClientCalls) -> None:
    with scripted_server(ISSUED) as server:
        token = client.call(server.url, "issue_token", REQUEST)
    assert token.token == TOKEN["token"]
    [received] = server.requests
    assert (received.method, received.target) == ("POST", "/v1/tokens")
    assert received.json == {"channelArn": CHANNEL, "viewerId": "viewer-17"}
    assert received.headers["authorization"] == f"Bearer {API_KEY}"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["user-agent"] == f"tokensvc-python/{__version__}"


@pytest.mark.parametrize("suffix", ["", "/", "/playback", "/playback/", "/a%20b/"])
def test_a_base_url_may_have_a_path_and_a_slash_at_its_end(client: ClientCalls, suffix: str) -> None:
    with scripted_server(ISSUED) as server:
        client.call(server.url + suffix, "issue_token", REQUEST)
    assert server.requests[0].target == f"{suffix.rstrip('/')}/v1/tokens"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "tokens.example.com",
        "ftp://tokens.example.com",
        "http://",
        "https://user:secret@tokens.example.com",
        "https://tokens.example.com?x=1",
        "https://tokens.example.com/#x",
        "http://[::1",
    ],
)
@pytest.mark.parametrize("kind", [TokensClient, AsyncTokensClient])
def test_an_invalid_base_url_is_rejected_immediately(kind: Callable[..., object], base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as raised:
        kind(base_url, API_KEY)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("api_key", ["", "tsk_1 ", "tsk_1\n", "tsk_ä", "tsk_1\r\nx: y"])
def test_an_api_key_that_no_header_can_have_is_rejected_without_showing_it(api_key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be") as raised:
        TokensClient("http://127.0.0.1:1", api_key)
    assert "tsk_" not in str(raised.value)


def test_viewers_and_ids_may_have_any_characters(client: ClientCalls) -> None:
    with scripted_server(
        ISSUED, http_response(404, b""), http_response(200, {"denials": [], "nextToken": None})
    ) as server:
        client.call(server.url, "issue_token", TokenRequest(CHANNEL, viewer_id="zoë ☃ \N{GRINNING FACE}"))
        with pytest.raises(NotFoundError):
            client.call(server.url, "get_revocation", "../keys/k?x=1#é")
        client.call(server.url, "list_denials", channel_arn=CHANNEL, viewer_id="zoë&x=1")
    assert server.requests[0].json["viewerId"] == "zoë ☃ \N{GRINNING FACE}"
    assert server.requests[1].target == "/v1/revocations/..%2Fkeys%2Fk%3Fx%3D1%23%C3%A9"
    assert server.requests[2].target.endswith("&viewerId=zo%C3%AB%26x%3D1")


@pytest.mark.parametrize("id_", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_rejected(client: ClientCalls, id_: str) -> None:
    with pytest.raises(ValueError, match="key_id must be an id"):
        client.call("http://127.0.0.1:1", "get_key", id_)


def test_a_service_that_is_away_for_a_moment_is_asked_again(client: ClientCalls) -> None:
    away = problem(503, "store_unavailable", {"retry-after": "1"})
    with scripted_server(away, away, ISSUED) as server:
        assert client.call(server.url, "issue_token", REQUEST).token
    assert len(server.requests) == 3
    assert 1 <= client.sleeps[0] <= 1.5
    assert 1 <= client.sleeps[1] <= 2


def test_retry_after_may_be_a_date(client: ClientCalls) -> None:
    away = problem(503, "overloaded", {"retry-after": "Sat, 21 Nov 2026 10:00:04 GMT"})
    with scripted_server(away, ISSUED) as server:
        client.call(server.url, "issue_token", REQUEST)
    assert 4 <= client.sleeps[0] <= 4.5, "counted from the server's own date"


def test_a_retry_after_beyond_the_deadline_is_raised_immediately(client: ClientCalls) -> None:
    with (
        scripted_server(problem(429, "rate_limited", {"retry-after": "315360000"})) as server,
        pytest.raises(RateLimitedError) as raised,
    ):
        client.call(server.url, "issue_token", REQUEST)
    assert raised.value.retry_after_seconds == 315_360_000
    assert (len(server.requests), client.sleeps) == (1, [])


def test_a_rejected_api_key_is_an_error_without_the_key(client: ClientCalls) -> None:
    with (
        scripted_server(problem(401, "unauthenticated", {"x-request-id": "9c41"})) as server,
        pytest.raises(UnauthenticatedError) as raised,
    ):
        client.call(server.url, "issue_token", REQUEST)
    assert len(server.requests) == 1
    assert raised.value.code is ProblemCode.UNAUTHENTICATED
    assert raised.value.request_id == "9c41"
    assert API_KEY not in str(raised.value) + repr(raised.value)


def _cut_off(connection: socket.socket) -> None:
    connection.sendall(ISSUED[:-20])
    reset(connection)


def _closed_early(connection: socket.socket) -> None:
    connection.sendall(ISSUED[:-20])
    connection.shutdown(socket.SHUT_RDWR)


def _hangs_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("fault", [reset, _cut_off, _closed_early, _hangs_up], ids=lambda fault: fault.__name__)
def test_a_connection_that_breaks_is_replaced_and_the_request_sent_again(
    client: ClientCalls, fault: Callable[[socket.socket], None]
) -> None:
    with scripted_server(on_connection(fault), on_connection(fault), ISSUED) as server:
        assert client.call(server.url, "issue_token", REQUEST).token
    assert [each.connection for each in server.requests] == [1, 2, 3]


def test_a_service_that_nobody_runs_is_an_error_that_says_so(client: ClientCalls) -> None:
    with pytest.raises(NoResponseError, match="ConnectError") as raised:
        client.call("http://127.0.0.1:1", "issue_token", REQUEST)
    assert raised.value.attempts == 3


@pytest.mark.parametrize(
    "reply",
    [
        http_response(201, b"<html>Welcome</html>"),
        http_response(201, b'{"token": "eyJ'),
        http_response(201, [1, 2]),
        http_response(201, gzip.compress(b"{}"), {"content-encoding": "gzip"}),
        http_response(204),
        http_response(301, b"", {"location": "http://127.0.0.1:1/"}),
        http_response(307, b"", {"location": "http://127.0.0.1:1/"}),
        http_response(201, b'{"token": "eyJ"}'),
    ],
)
def test_a_response_that_is_not_one_of_tokensvc_is_an_error_that_is_not_repeated(
    client: ClientCalls, reply: bytes
) -> None:
    with scripted_server(reply) as server, pytest.raises(InvalidResponseError) as raised:
        client.call(server.url, "issue_token", REQUEST)
    assert len(server.requests) == 1
    assert "eyJ" not in str(raised.value)


def test_a_redirect_never_gets_the_api_key(client: ClientCalls) -> None:
    with (
        scripted_server(ISSUED) as other,
        scripted_server(http_response(308, b"", {"location": f"{other.url}/v1/tokens"})) as server,
        pytest.raises(InvalidResponseError, match="redirects are not followed"),
    ):
        client.call(server.url, "issue_token", REQUEST)
    assert other.requests == []


def test_an_endless_response_is_not_read_to_its_end(client: ClientCalls) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 201 X\r\ncontent-type: application/json\r\n\r\n")
        while True:
            sent += connection.send(b" " * 2**20)

    with scripted_server(on_connection(flood)) as server, pytest.raises(InvalidResponseError, match="longer than"):
        client.call(server.url, "issue_token", REQUEST)
    assert sent < MAX_RESPONSE_BYTES + 32 * 2**20


def _drip(text: bytes) -> Callable[[socket.socket], None]:
    def drip(connection: socket.socket) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    return on_connection(drip)


SLOW = {
    "never": on_connection(lambda connection: time.sleep(5)),
    "headers, byte by byte": _drip(ISSUED.replace(b"\r\n\r\n", b"\r\nx: " + b"x" * 500 + b"\r\n\r\n")),
    "body, byte by byte": _drip(b"HTTP/1.1 201 X\r\ncontent-length: 500\r\n\r\n" + b" " * 500),
}


@pytest.mark.parametrize("slow", SLOW)
def test_a_slow_response_is_given_up_at_the_deadline_however_it_is_slow(client: ClientCalls, slow: str) -> None:
    policy = RetryPolicy(max_attempts=1, deadline_seconds=0.3)
    with scripted_server(SLOW[slow]) as server:
        started = time.monotonic()
        with pytest.raises(NoResponseError, match="within the time allowed"):
            client.call(server.url, "issue_token", REQUEST, retries=policy)
        assert time.monotonic() - started < 4
    assert len(server.requests) == 1


def test_a_server_that_reads_slowly_is_given_up_at_the_deadline(client: ClientCalls) -> None:
    stopped = threading.Event()

    def read_slowly(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while not stopped.wait(0.05) and connection.recv(4096):
                pass

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        reader = threading.Thread(target=read_slowly, args=(listener,))
        reader.start()
        requests = [TokenRequest(CHANNEL, subject="x" * 9000)] * 110
        policy = RetryPolicy(max_attempts=1, deadline_seconds=0.5)
        started = time.monotonic()
        with pytest.raises(NoResponseError, match="within the time allowed"):
            client.call(f"http://127.0.0.1:{listener.getsockname()[1]}", "issue_tokens", requests, retries=policy)
        assert time.monotonic() - started < 8
        stopped.set()
        reader.join(10)


def test_no_cookie_is_sent_back() -> None:
    issued = http_response(201, TOKEN, {"set-cookie": "worker=1; Path=/"})
    with scripted_server(issued) as server, TokensClient(server.url, API_KEY) as client:
        client.issue_token(REQUEST)
        client.issue_token(REQUEST)
    assert [each.headers.get("cookie") for each in server.requests] == [None, None]


def test_tokens_and_errors_survive_the_way_to_another_process() -> None:
    limited = problem(429, "rate_limited", {"retry-after": "99", "x-request-id": "9c41"})
    with scripted_server(ISSUED, limited) as server, TokensClient(server.url, API_KEY) as client:
        token = client.issue_token(REQUEST)
        with pytest.raises(RateLimitedError) as raised:
            client.issue_token(REQUEST)
    assert pickle.loads(pickle.dumps(token)) == token
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (type(copied), str(copied), vars(copied)) == (RateLimitedError, str(raised.value), vars(raised.value))


def test_a_proxy_of_the_environment_gets_nothing(client: ClientCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(ISSUED) as proxy, scripted_server(ISSUED) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        client.call(server.url, "issue_token", REQUEST)
    assert (len(server.requests), proxy.requests) == (1, [])


def test_a_proxy_is_used_where_it_is_named() -> None:
    with scripted_server(ISSUED) as proxy, TokensClient("http://tokens.invalid", API_KEY, proxy=proxy.url) as client:
        client.issue_token(REQUEST)
    assert proxy.requests[0].target == "http://tokens.invalid/v1/tokens"


def test_a_batch_of_any_length_is_split_and_its_results_are_in_order(client: ClientCalls) -> None:
    requests = [TokenRequest(CHANNEL, viewer_id=f"viewer-{n}") for n in range(1203)]
    with scripted_server(_tokens) as server:
        results = client.call(server.url, "issue_tokens", requests)
    assert [each.viewer_id for each in results] == [each.viewer_id for each in requests]
    assert [len(each.json["requests"]) for each in server.requests] == [500, 500, 203]


def test_a_batch_is_split_so_that_no_body_exceeds_the_limit(client: ClientCalls) -> None:
    requests = [TokenRequest(CHANNEL, viewer_id=f"{n:04}", subject="x" * 9000) for n in range(300)]
    with scripted_server(_tokens) as server:
        results = client.call(server.url, "issue_tokens", requests)
    assert [each.viewer_id for each in results] == [each.viewer_id for each in requests]
    assert all(len(each.body) <= 2**20 for each in server.requests)
    assert len(server.requests) == 3


def test_an_empty_batch_asks_nothing(client: ClientCalls) -> None:
    assert client.call("http://127.0.0.1:1", "issue_tokens", []) == []
    assert client.call("http://127.0.0.1:1", "revoke_viewers", []) == []


def test_an_item_that_failed_is_the_error_that_it_would_have_raised(client: ClientCalls) -> None:
    viewers = ["ada", "viewer_denied", "bob"]
    with scripted_server(_tokens) as server:
        ada, denied, bob = client.call(
            server.url, "issue_tokens", [TokenRequest(CHANNEL, viewer_id=each) for each in viewers]
        )
    assert isinstance(ada, PlaybackToken)
    assert isinstance(bob, PlaybackToken)
    assert denied.code is ProblemCode.VIEWER_DENIED
    assert len(server.requests) == 1, "what will fail again is not repeated"


def test_items_that_failed_for_the_moment_and_only_these_are_requested_again(client: ClientCalls) -> None:
    def second(request: ReceivedRequest) -> bytes:
        return http_response(200, {"results": [TOKEN | {"viewerId": "late"} for _ in request.json["requests"]]})

    viewers = ["ada", "rate_limited", "viewer_denied", "rate_limited"]
    with scripted_server(_tokens, second) as server:
        results = client.call(server.url, "issue_tokens", [TokenRequest(CHANNEL, viewer_id=each) for each in viewers])
    assert [getattr(each, "viewer_id", None) for each in results] == ["ada", "late", None, "late"]
    assert [each["viewerId"] for each in server.requests[1].json["requests"]] == ["rate_limited", "rate_limited"]
    assert 2 <= client.sleeps[0] <= 2.5


def test_items_that_keep_failing_are_errors_with_the_number_of_attempts(client: ClientCalls) -> None:
    with scripted_server(_tokens) as server:
        [error] = client.call(server.url, "issue_tokens", [TokenRequest(CHANNEL, viewer_id="rate_limited")])
    assert isinstance(error, RateLimitedError)
    assert error.attempts == len(server.requests) == 3


def test_a_batch_whose_first_part_fails_raises_and_a_later_failure_is_the_result_of_the_rest(
    client: ClientCalls,
) -> None:
    requests = [TokenRequest(CHANNEL, viewer_id=f"v{n}") for n in range(1500)]
    rejected = problem(401, "unauthenticated")
    with scripted_server(rejected) as server, pytest.raises(UnauthenticatedError):
        client.call(server.url, "issue_tokens", requests)
    with scripted_server(_tokens, rejected) as server:
        results = client.call(server.url, "issue_tokens", requests)
    assert len(server.requests) == 2, "what cannot succeed is not sent"
    assert all(isinstance(each, PlaybackToken) for each in results[:500])
    assert all(isinstance(each, UnauthenticatedError) for each in results[500:])
    assert len(results) == 1500


@pytest.mark.parametrize("results", [[], [TOKEN, TOKEN], None, [7], [{"problem": 7}]])
def test_a_batch_without_one_result_for_each_item_is_not_a_response_of_tokensvc(
    client: ClientCalls, results: object
) -> None:
    with scripted_server(http_response(200, {"results": results})) as server, pytest.raises(InvalidResponseError):
        client.call(server.url, "issue_tokens", [REQUEST])


ACCEPTED = {"id": "r1", "state": "queued", "readmitAfter": "2026-11-21T10:15:10Z"}
REVOKE = RevocationRequest(channel_arn=CHANNEL, viewer_id="eve")


def test_a_repeated_revocation_has_the_same_idempotency_key_and_another_revocation_another(client: ClientCalls) -> None:
    with scripted_server(on_connection(reset), http_response(202, ACCEPTED)) as server:
        client.call(server.url, "revoke_viewer", REVOKE)
        client.call(server.url, "revoke_viewer", REVOKE)
    first, repeated, other = (each.headers["idempotency-key"] for each in server.requests)
    assert first == repeated != other
    assert len(first) >= 32


def test_the_parts_of_a_batch_of_revocations_have_keys_that_derive_from_its_own(client: ClientCalls) -> None:
    def accept(request: ReceivedRequest) -> bytes:
        return http_response(202, {"results": [ACCEPTED for _ in request.json["revocations"]]})

    def send() -> list[tuple[str, int]]:
        with scripted_server(accept) as server:
            client.call(server.url, "revoke_viewers", [REVOKE] * 2500, idempotency_key="k" * 255)
        return [(each.headers["idempotency-key"], len(each.json["revocations"])) for each in server.requests]

    sent = send()
    assert [length for _, length in sent] == [1000, 1000, 500]
    assert sent[0][0] == "k" * 255
    assert len({key for key, _ in sent}) == 3
    assert send() == sent, "the same call has the same keys, so that it may be repeated"


def test_revocations_of_many_channels_are_split_by_their_targets(client: ClientCalls) -> None:
    def accept(request: ReceivedRequest) -> bytes:
        return http_response(202, {"results": [ACCEPTED for _ in request.json["revocations"]]})

    many = RevocationRequest(channel_arns=[CHANNEL] * 50, viewer_id="eve")
    with scripted_server(accept) as server:
        assert len(client.call(server.url, "revoke_viewers", [many] * 120)) == 120
    assert [len(each.json["revocations"]) for each in server.requests] == [50, 50, 20]


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\nb"])
def test_an_idempotency_key_that_the_api_rejects_is_rejected_before(client: ClientCalls, key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key must be"):
        client.call("http://127.0.0.1:1", "revoke_viewer", REVOKE, idempotency_key=key)


def test_a_denial_that_is_gone_after_a_lost_response_was_removed(client: ClientCalls) -> None:
    gone = problem(404, "denial_not_found")
    with scripted_server(on_connection(reset), gone) as server:
        client.call(server.url, "remove_denial", "d1")
    with scripted_server(gone) as server, pytest.raises(NotFoundError):
        client.call(server.url, "remove_denial", "d1")
    assert server.requests[0].method == "DELETE"


def test_a_list_is_read_page_by_page_as_far_as_it_is_needed() -> None:
    denial = {
        "id": "d1",
        "channelArn": CHANNEL,
        "until": "2026-11-22T10:00:00Z",
        "reason": "",
        "caller": "moderation",
        "createdAt": "2026-11-21T10:00:00Z",
    }
    pages = [
        http_response(200, {"denials": [denial, denial], "nextToken": "a"}),
        http_response(200, {"denials": [], "nextToken": "b"}),
        http_response(200, {"denials": [denial], "nextToken": None}),
    ]
    with scripted_server(*pages) as server, TokensClient(server.url, API_KEY) as client:
        listed = client.list_denials(channel_arn=CHANNEL)
        next(listed)
        assert len(server.requests) == 1
        assert len(list(listed)) == 2
    assert [each.target.partition("nextToken=")[2] for each in server.requests] == ["", "a", "b"]


def test_a_list_that_never_ends_is_not_followed_for_ever(client: ClientCalls) -> None:
    with (
        scripted_server(http_response(200, {"keys": [], "nextToken": "again"})) as server,
        pytest.raises(InvalidResponseError, match="nextToken"),
    ):
        client.call(server.url, "list_keys")
    assert len(server.requests) == 2


def test_a_client_uses_its_connection_again() -> None:
    with (
        scripted_server(ISSUED) as server,
        TokensClient(server.url, API_KEY) as client,
    ):
        for _ in range(3):
            client.issue_token(REQUEST)

        async def three() -> None:
            async with AsyncTokensClient(server.url, API_KEY) as other:
                for _ in range(3):
                    await other.issue_token(REQUEST)

        asyncio.run(three())
    assert [each.connection for each in server.requests] == [1, 1, 1, 2, 2, 2]


def test_a_connection_that_the_server_has_closed_meanwhile_does_no_harm(client: ClientCalls) -> None:
    def close_after(connection: socket.socket) -> None:
        connection.sendall(ISSUED)
        connection.shutdown(socket.SHUT_RDWR)

    with (
        scripted_server(on_connection(close_after), on_connection(close_after), ISSUED) as server,
        TokensClient(server.url, API_KEY) as both,
    ):
        for _ in range(3):
            assert both.issue_token(REQUEST).token


def _echo(request: ReceivedRequest) -> bytes:
    return http_response(201, TOKEN | {"viewerId": request.json["viewerId"]})


def test_threads_that_share_a_client_each_get_their_own_token() -> None:
    with scripted_server(_echo) as server, TokensClient(server.url, API_KEY) as client, ThreadPoolExecutor(16) as pool:
        viewers = [f"viewer-{n}" for n in range(200)]
        tokens = list(pool.map(lambda viewer: client.issue_token(TokenRequest(CHANNEL, viewer_id=viewer)), viewers))
    assert [token.viewer_id for token in tokens] == viewers


def test_tasks_that_share_a_client_each_get_their_own_token() -> None:
    async def all_at_once(url: str) -> list[PlaybackToken]:
        async with AsyncTokensClient(url, API_KEY) as client:
            return await asyncio.gather(
                *(client.issue_token(TokenRequest(CHANNEL, viewer_id=each)) for each in viewers)
            )

    viewers = [f"viewer-{n}" for n in range(200)]
    with scripted_server(_echo) as server:
        tokens = asyncio.run(all_at_once(server.url))
    assert [token.viewer_id for token in tokens] == viewers


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of fork beside threads
def test_a_forked_process_opens_a_connection_of_its_own() -> None:
    with scripted_server(_echo) as server, TokensClient(server.url, API_KEY) as client:
        client.issue_token(REQUEST)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(client.issue_token(TokenRequest(CHANNEL, viewer_id="child")).viewer_id != "child")
                client.close()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert client.issue_token(TokenRequest(CHANNEL, viewer_id="parent")).viewer_id == "parent"
    assert [(each.json["viewerId"], each.connection) for each in server.requests] == [
        ("viewer-17", 1),
        ("child", 2),
        ("parent", 1),
    ]


def test_a_cancelled_call_leaves_nothing_for_the_next_one_to_read() -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    def late(connection: socket.socket) -> None:
        arrived.set()
        cancelled.wait(10)
        with contextlib.suppress(OSError):
            connection.sendall(http_response(201, TOKEN | {"viewerId": "cancelled"}))

    async def cancel(server: ScriptedServer) -> PlaybackToken:
        async with AsyncTokensClient(server.url, API_KEY) as client:
            call = asyncio.create_task(client.issue_token(REQUEST))
            await asyncio.to_thread(arrived.wait)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            cancelled.set()
            return await client.issue_token(TokenRequest(CHANNEL, viewer_id="next"))

    with scripted_server(on_connection(late), _echo) as server:
        assert asyncio.run(cancel(server)).viewer_id == "next"
    assert [each.connection for each in server.requests] == [1, 2]


def test_a_call_that_is_cancelled_while_it_waits_to_retry_ends() -> None:
    async def cancel(url: str) -> None:
        async with AsyncTokensClient(url, API_KEY) as client:
            async with asyncio.timeout(1.0):
                await client.issue_token(REQUEST)

    with scripted_server(problem(503, "overloaded", {"retry-after": "15"})) as server, pytest.raises(TimeoutError):
        asyncio.run(cancel(server.url))
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # nobody can close what a closed loop left open
def test_an_async_client_outlives_the_event_loop_that_used_it_first_but_serves_one_at_a_time() -> None:
    with scripted_server(ISSUED) as server:
        client = AsyncTokensClient(server.url, API_KEY)
        asyncio.run(client.issue_token(REQUEST))

        async def in_another_loop() -> None:
            await client.issue_token(REQUEST)
            with pytest.raises(RuntimeError, match="belongs to another event loop"):
                await asyncio.to_thread(asyncio.run, client.issue_token(REQUEST))
            await client.close()

        asyncio.run(in_another_loop())
        gc.collect()


def test_a_closed_client_says_so(client: ClientCalls) -> None:
    sync = TokensClient("http://127.0.0.1:1", API_KEY)
    sync.close()
    with pytest.raises(RuntimeError, match="closed"):
        sync.issue_token(REQUEST)

    async def closed() -> None:
        other = AsyncTokensClient("http://127.0.0.1:1", API_KEY)
        await other.close()
        await other.issue_token(REQUEST)

    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(closed())


def test_no_repr_and_no_stack_trace_with_its_variables_shows_the_api_key(client: ClientCalls) -> None:
    with scripted_server(problem(401, "unauthenticated")) as server:
        with pytest.raises(TokensError) as raised:
            client.call(server.url, "issue_token", REQUEST)
        frames: list[Any] = []
        traceback = raised.value.__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame)
            traceback = traceback.tb_next
        of_client = [frame for frame in frames if "tokensvc/client" in frame.f_code.co_filename]
        assert of_client
        shown = repr([frame.f_locals for frame in of_client])
    assert API_KEY not in shown
    assert "viewer-17" not in shown


def test_both_clients_have_the_same_methods() -> None:
    def signatures(kind: type) -> dict[str, tuple[str, ...]]:
        return {
            name: (
                str(method.__doc__),
                *method.__code__.co_varnames[: method.__code__.co_argcount + method.__code__.co_kwonlyargcount],
            )
            for name, method in vars(kind).items()
            if not name.startswith("_") and callable(method) and name != "close"
        }

    assert signatures(TokensClient) == signatures(AsyncTokensClient)


def test_the_errors_of_faults_are_of_the_documented_classes(client: ClientCalls) -> None:
    replies: dict[bytes, type[TokensError]] = {
        problem(422, "invalid_request"): InvalidRequestError,
        problem(500, "internal_error"): ServerError,
        http_response(502, b"<html>Bad gateway</html>"): UnavailableError,
    }
    for reply, expected in replies.items():
        with scripted_server(reply) as server, pytest.raises(expected):
            client.call(server.url, "deny_viewer", DenialRequest(channel_arn="*", viewer_id="x"), retries=ONCE)
