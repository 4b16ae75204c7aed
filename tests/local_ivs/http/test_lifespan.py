"""Whatever comes over the wire is answered in AWS's protocol; nothing that comes in makes it fail."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
import structlog
from botocore.loaders import Loader

from tests.local_ivs.environment import OPERATIONS, everything, pem
from tests.local_ivs.http.conftest import CREDENTIALS, Running
from tests.local_ivs.http.signed_requests import send
from tests.support.servers import serving
from tokensvc.clock import SystemClock
from tokensvc.errors import StoreUnavailable
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.storage import SqliteResourceStore

EMPTY = b"{}"


def test_an_answer_has_a_request_id_and_is_json(running: Running) -> None:
    reply = send("POST", f"{running.endpoint_url}/ListChannels", EMPTY)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.headers["x-amzn-requestid"]) == 36
    assert "channels" in reply.json()


def test_an_error_has_its_type_and_both_messages(running: Running) -> None:
    reply = send("POST", f"{running.endpoint_url}/GetChannel", EMPTY)
    assert (reply.status, reply.error_type) == (400, "ValidationException")
    text = "1 validation error detected: Value at 'arn' failed to satisfy constraint: Member must not be null"
    assert reply.json() == {"exceptionMessage": text, "message": text}


SENT_BY_BROWSER_SDKS = {
    *("authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-user-agent"),
    *("x-amz-content-sha256", "amz-sdk-invocation-id", "amz-sdk-request"),
}
"""Request headers of AWS's SDK for JavaScript that a browser asks about before it sends them."""


def words(header: str) -> set[str]:
    return {word.strip().lower() for word in header.split(",")}


def modelled_response_headers() -> set[str]:
    """Every header that botocore's model reads from a response of IVS."""
    shapes = Loader().load_service_model("ivs", "service-2")["shapes"].values()
    members = [member for shape in shapes for member in shape.get("members", {}).values()]
    return {member["locationName"].lower() for member in members if member.get("location") == "header"}


@pytest.mark.parametrize(
    "path", ["/ListChannels", "/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A000000000000%3Achannel%2Fx", "/"]
)
def test_a_preflight_lets_a_browser_sdk_send_its_headers(running: Running, path: str) -> None:
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "DELETE"}
    reply = send("OPTIONS", running.endpoint_url + path, headers=headers, sign=False)
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
def test_every_response_can_be_read_by_a_browser_sdk(
    running: Running, path: str, body: bytes, sign: bool, status: int
) -> None:
    reply = send("POST", running.endpoint_url + path, body, {"Origin": "https://app.example"}, sign=sign)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, "*")
    exposed = words(reply.headers["access-control-expose-headers"])
    assert exposed >= modelled_response_headers() | {"x-amzn-requestid"}
    assert modelled_response_headers() - reply.headers.keys() <= {"x-amzn-errortype"}


def test_the_modelled_headers_of_a_batch_are_for_browsers_alone(running: Running) -> None:
    """The AWS CLI prints every modelled member, and its published examples show none of these."""
    with contextlib.closing(running.client()) as client:
        unknown = {"arns": ["arn:aws:ivs:us-west-2:000000000000:channel/x"]}
        assert client.batch_get_channel(**unknown).keys() == {"ResponseMetadata", "channels", "errors"}
        client.meta.events.register(
            "before-call", lambda params, **_: params["headers"].update(Origin="https://a.test")
        )
        got = client.batch_get_channel(**unknown)
        assert (got["accessControlAllowOrigin"], got["xContentTypeOptions"]) == ("*", "nosniff")


def test_an_empty_body_is_an_empty_request(running: Running) -> None:
    assert send("POST", f"{running.endpoint_url}/ListChannels").status == 200


def test_no_content_has_no_body(running: Running) -> None:
    created = send("POST", f"{running.endpoint_url}/CreateChannel", EMPTY).json()
    body = json.dumps({"arn": created["channel"]["arn"]}).encode()
    reply = send("POST", f"{running.endpoint_url}/DeleteChannel", body)
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
def test_only_a_right_signature_comes_in(running: Running, scope: dict[str, Any], status: int, error_type: str) -> None:
    reply = send("POST", f"{running.endpoint_url}/ListChannels", EMPTY, **scope)
    assert (reply.status, reply.error_type) == (status, error_type)


def test_an_unknown_path_is_an_unknown_operation_to_whoever_may_ask(running: Running) -> None:
    for path in ("/MakeCoffee", "/", "/tags", "/createchannel", "/CreateChannel/"):
        reply = send("POST", running.endpoint_url + path, EMPTY)
        assert (reply.status, reply.error_type) == (404, "UnknownOperationException")
        assert send("POST", running.endpoint_url + path, EMPTY, sign=False).status == 403
    assert send("GET", f"{running.endpoint_url}/ListChannels").status == 404


def test_a_body_over_a_mebibyte_is_too_large(running: Running) -> None:
    body = json.dumps({"name": "x" * 1024 * 1024}).encode()
    reply = send("POST", f"{running.endpoint_url}/CreateChannel", body)
    assert (reply.status, reply.error_type) == (413, "RequestEntityTooLargeException")


def junk(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON."""
    leaves: list[Any] = [None, True, -1, 2**70, 1.5, "", "x" * 200, "\ud800", "arn:aws:ivs:r:1:channel/x", pem(1)]
    if depth > 2 or chance.random() < 0.6:
        return chance.choice(leaves)
    if chance.random() < 0.5:
        return [junk(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice(["a", "", "enabled", "\u0000"]): junk(chance, depth + 1) for _ in range(2)}


def test_nothing_that_is_sent_makes_it_fail_or_change_on_a_refusal(running: Running) -> None:
    chance = random.Random(7)
    model = running.parts.ivs._model
    bodies = (b"{", b"[]", b"null", b"\xff\xfe", b'{"a":' * 400, b'{"arn":"a","arn":"b"}')
    for number in range(150):
        operation = model.operations[OPERATIONS[number % len(OPERATIONS)]]
        request = {member: junk(chance) for member in operation.members if chance.random() < 0.8}
        body = chance.choice(bodies) if chance.random() < 0.2 else json.dumps(request).encode()
        piece = chance.choice(["%00", "%ff", "a%2Fb", "arn:aws:ivs:us-west-2:000000000000:channel/x", "%F0%9F%98%80"])
        query = chance.choice(["", "?tagKeys=%ff", "?tagKeys=a&tagKeys=a", "?&=&%=%", "?tagKeys"])
        path = operation.path.replace("{resourceArn}", piece)
        before = everything(running.resources)
        reply = send(operation.method, running.endpoint_url + path + query, body)
        assert reply.status < 500, (operation.name, body, reply)
        assert reply.json().keys() or reply.status == 200
        if reply.status >= 400:
            assert everything(running.resources) == before


class BrokenResources(SqliteResourceStore):
    """A store that fails as it is told."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(":memory:")
        self._failure = failure

    def begin(self, *, write: bool) -> Any:
        raise self._failure


@pytest.mark.parametrize(
    ("failure", "status", "error_type"),
    [
        (StoreUnavailable("away", detail="disk"), 503, "ServiceUnavailable"),
        (RuntimeError("sk_us-west-2_secret"), 500, "InternalServerException"),
    ],
    ids=["store", "fault"],
)
def test_a_fault_of_ours_has_a_fixed_text_and_a_log_line(failure: Exception, status: int, error_type: str) -> None:
    resources = BrokenResources(failure)
    parts = build(resources, LocalIvsSettings(CREDENTIALS), AdvanceableClock(SystemClock()))
    with structlog.testing.capture_logs() as logged, serving(parts.site) as base_url:
        reply = send("POST", f"{base_url}/ListChannels", EMPTY)
    resources.close()
    assert (reply.status, reply.error_type) == (status, error_type)
    assert b"secret" not in reply.body
    assert len(logged) == 1
    assert logged[0]["request_id"] == reply.headers["x-amzn-requestid"]
    assert "secret" not in str(logged)


def test_a_public_url_wins_over_the_host_that_was_used() -> None:
    resources = SqliteResourceStore(":memory:")
    settings = LocalIvsSettings(CREDENTIALS, public_url="https://ivs.example/")
    parts = build(resources, settings, AdvanceableClock(SystemClock()))
    with serving(parts.site) as base_url:
        channel = send("POST", f"{base_url}/CreateChannel", EMPTY).json()["channel"]
    resources.close()
    assert channel["playbackUrl"].startswith("https://ivs.example/api/video/v1/")


def test_the_host_that_was_used_is_in_the_playback_url(running: Running) -> None:
    port = running.base_url.rpartition(":")[2]
    url = running.endpoint_url.replace("127.0.0.1", "localhost")
    channel = send("POST", f"{url}/CreateChannel", EMPTY).json()["channel"]
    assert channel["playbackUrl"].startswith(f"http://localhost:{port}/api/video/")
