"""Every request over HTTP gets a response of AWS's protocol, and no request can crash the server."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
import structlog
from botocore.loaders import Loader

from tests.local_ivs.environment import OPERATIONS, all_stored, pem
from tests.local_ivs.http.conftest import CREDENTIALS, SharedServer
from tests.local_ivs.http.signed_requests import send
from tests.support.servers import serving
from tokensvc.clock import SystemClock
from tokensvc.errors import StoreUnavailable
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.storage import SqliteResourceStore

EMPTY = b"{}"


def test_a_response_has_a_request_id_and_is_json(shared_server: SharedServer) -> None:
    reply = send("POST", f"{shared_server.endpoint_url}/ListChannels", EMPTY)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.headers["x-amzn-requestid"]) == 36
    assert "channels" in reply.json()


def test_an_error_has_its_type_and_both_messages(shared_server: SharedServer) -> None:
    reply = send("POST", f"{shared_server.endpoint_url}/GetChannel", EMPTY)
    assert (reply.status, reply.error_type) == (400, "ValidationException")
    text = "1 validation error detected: Value at 'arn' failed to satisfy constraint: Member must not be null"
    assert reply.json() == {"exceptionMessage": text, "message": text}


SENT_BY_BROWSER_SDKS = {
    *("authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-user-agent"),
    *("x-amz-content-sha256", "amz-sdk-invocation-id", "amz-sdk-request"),
}
"""Request headers of AWS's SDK for JavaScript for which a browser sends a preflight."""


def words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


def modelled_response_headers() -> set[str]:
    """Every header that botocore reads from a response of IVS."""
    shapes = Loader().load_service_model("ivs", "service-2")["shapes"].values()
    members = [member for shape in shapes for member in shape.get("members", {}).values()]
    return {member["locationName"].lower() for member in members if member.get("location") == "header"}


@pytest.mark.parametrize(
    "path", ["/ListChannels", "/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A000000000000%3Achannel%2Fx", "/"]
)
def test_a_preflight_allows_the_headers_of_browser_sdks(shared_server: SharedServer, path: str) -> None:
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "DELETE"}
    reply = send("OPTIONS", shared_server.endpoint_url + path, headers=headers, sign=False)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "*"
    assert words(reply.headers["access-control-allow-methods"]) >= {"get", "post", "delete"}
    assert words(reply.headers["access-control-allow-headers"]) >= SENT_BY_BROWSER_SDKS
    assert int(reply.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize(
    ("path", "body", "sign", "status"),
    [
        ("/ListChannels", b"{}", True, 200),
        ("/BatchGetChannel", b'{"arns":["arn:aws:ivs:us-west-2:000000000000:channel/x"]}', True, 200),
        ("/GetChannel", b"{}", True, 400),
        ("/GetChannel", b'{"arn":"arn:aws:ivs:us-west-2:000000000000:channel/x"}', True, 404),
        ("/Nothing", b"{}", True, 404),
        ("/ListChannels", b"{}", False, 403),
        ("/ListChannels", b"x" * (1024 * 1024 + 1), True, 413),
    ],
)
def test_browser_sdks_can_read_every_response(
    shared_server: SharedServer, path: str, body: bytes, sign: bool, status: int
) -> None:
    reply = send("POST", shared_server.endpoint_url + path, body, {"Origin": "https://app.example"}, sign=sign)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")
    exposed = words(reply.headers["access-control-expose-headers"])
    assert exposed >= modelled_response_headers() | {"x-amzn-requestid"}
    assert modelled_response_headers() - reply.headers.keys() <= {"x-amzn-errortype"}


def test_only_browsers_get_the_modelled_headers_of_a_batch(shared_server: SharedServer) -> None:
    """The AWS CLI prints every modelled member, and its published examples show none of these."""
    with contextlib.closing(shared_server.client()) as client:
        unknown = {"arns": ["arn:aws:ivs:us-west-2:000000000000:channel/x"]}
        assert client.batch_get_channel(**unknown).keys() == {"ResponseMetadata", "channels", "errors"}
        client.meta.events.register(
            "before-call", lambda params, **_: params["headers"].update(Origin="https://a.test")
        )
        got = client.batch_get_channel(**unknown)
        assert (got["accessControlAllowOrigin"], got["xContentTypeOptions"]) == ("*", "nosniff")


def test_an_empty_body_is_an_empty_request(shared_server: SharedServer) -> None:
    assert send("POST", f"{shared_server.endpoint_url}/ListChannels").status == 200


def test_a_204_has_no_body(shared_server: SharedServer) -> None:
    created = send("POST", f"{shared_server.endpoint_url}/CreateChannel", EMPTY).json()
    body = json.dumps({"arn": created["channel"]["arn"]}).encode()
    reply = send("POST", f"{shared_server.endpoint_url}/DeleteChannel", body)
    assert (reply.status, reply.body) == (204, b"")
    assert "content-type" not in reply.headers


@pytest.mark.parametrize(
    ("scope", "status", "error_type"),
    [
        ({"sign": False}, 403, "MissingAuthenticationTokenException"),
        ({"access_key": "nobody"}, 403, "UnrecognizedClientException"),
        ({"secret": "wrong"}, 403, "InvalidSignatureException"),
        ({"service": "s3"}, 403, "InvalidSignatureException"),
        ({"headers": {"authorization": "Bearer x"}, "sign": False}, 403, "IncompleteSignature"),
        ({"token": "a session token"}, 200, ""),
    ],
    ids=str,
)
def test_only_valid_signatures_are_accepted(
    shared_server: SharedServer, scope: dict[str, Any], status: int, error_type: str
) -> None:
    reply = send("POST", f"{shared_server.endpoint_url}/ListChannels", EMPTY, **scope)
    assert (reply.status, reply.error_type) == (status, error_type)


def test_an_unknown_path_is_an_unknown_operation_for_signed_requests(shared_server: SharedServer) -> None:
    for path in ("/MakeCoffee", "/", "/tags", "/createchannel", "/CreateChannel/"):
        reply = send("POST", shared_server.endpoint_url + path, EMPTY)
        assert (reply.status, reply.error_type) == (404, "UnknownOperationException")
        assert send("POST", shared_server.endpoint_url + path, EMPTY, sign=False).status == 403
    assert send("GET", f"{shared_server.endpoint_url}/ListChannels").status == 404


def test_a_body_over_one_mebibyte_is_too_large(shared_server: SharedServer) -> None:
    body = json.dumps({"name": "x" * 1024 * 1024}).encode()
    reply = send("POST", f"{shared_server.endpoint_url}/CreateChannel", body)
    assert (reply.status, reply.error_type) == (413, "RequestEntityTooLargeException")


def junk(rng: random.Random, depth: int = 0) -> Any:
    """Random JSON values."""
    leaves: list[Any] = [None, True, -1, 2**70, 1.5, "", "x" * 200, "\ud800", "arn:aws:ivs:r:1:channel/x", pem(1)]
    if depth > 2 or rng.random() < 0.6:
        return rng.choice(leaves)
    if rng.random() < 0.5:
        return [junk(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice(["a", "", "enabled", "\u0000"]): junk(rng, depth + 1) for _ in range(2)}


@pytest.mark.slow
def test_malformed_requests_neither_crash_the_server_nor_change_anything(shared_server: SharedServer) -> None:
    rng = random.Random(7)
    model = shared_server.components.ivs._model
    bodies = (b"{", b"[]", b"null", b"\xff\xfe", b'{"a":' * 400, b'{"arn":"a","arn":"b"}')
    for number in range(150):
        operation = model.operations[OPERATIONS[number % len(OPERATIONS)]]
        request = {member: junk(rng) for member in operation.members if rng.random() < 0.8}
        body = rng.choice(bodies) if rng.random() < 0.2 else json.dumps(request).encode()
        piece = rng.choice(["%00", "%ff", "a%2Fb", "arn:aws:ivs:us-west-2:000000000000:channel/x", "%F0%9F%98%80"])
        query = rng.choice(["", "?tagKeys=%ff", "?tagKeys=a&tagKeys=a", "?&=&%=%", "?tagKeys"])
        path = operation.path.replace("{resourceArn}", piece)
        before = all_stored(shared_server.resources)
        reply = send(operation.method, shared_server.endpoint_url + path + query, body)
        assert reply.status < 500, (operation.name, body, reply)
        assert reply.json().keys() or reply.status == 200
        if reply.status >= 400:
            assert all_stored(shared_server.resources) == before


class FailingResourceStore(SqliteResourceStore):
    """A store whose transactions raise the given exception."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(":memory:")
        self._failure = failure

    def begin(self, *, write: bool) -> Any:
        raise self._failure


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "status", "error_type"),
    [
        (StoreUnavailable("away", detail="disk"), 503, "ServiceUnavailable"),
        (RuntimeError("sk_us-west-2_secret"), 500, "InternalServerException"),
    ],
    ids=["store", "bug"],
)
def test_an_internal_failure_has_a_fixed_text_and_a_log_line(failure: Exception, status: int, error_type: str) -> None:
    resources = FailingResourceStore(failure)
    components = build(resources, LocalIvsSettings(CREDENTIALS), AdvanceableClock(SystemClock()))
    with structlog.testing.capture_logs() as logged, serving(components.site) as base_url:
        reply = send("POST", f"{base_url}/ListChannels", EMPTY)
    resources.close()
    assert (reply.status, reply.error_type) == (status, error_type)
    assert b"secret" not in reply.body
    assert len(logged) == 1
    assert logged[0]["request_id"] == reply.headers["x-amzn-requestid"]
    assert "secret" not in str(logged)


@pytest.mark.slow
def test_a_public_url_overrides_the_host_header() -> None:
    resources = SqliteResourceStore(":memory:")
    settings = LocalIvsSettings(CREDENTIALS, public_url="https://ivs.example/")
    components = build(resources, settings, AdvanceableClock(SystemClock()))
    with serving(components.site) as base_url:
        channel = send("POST", f"{base_url}/CreateChannel", EMPTY).json()["channel"]
    resources.close()
    assert channel["playbackUrl"].startswith("https://ivs.example/api/video/v1/")


def test_playback_urls_contain_the_host_of_the_request(shared_server: SharedServer) -> None:
    port = shared_server.base_url.rpartition(":")[2]
    url = shared_server.endpoint_url.replace("127.0.0.1", "localhost")
    channel = send("POST", f"{url}/CreateChannel", EMPTY).json()["channel"]
    assert channel["playbackUrl"].startswith(f"http://localhost:{port}/api/video/")
