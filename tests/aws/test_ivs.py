"""AwsControlPlane with unmodified boto3 over real sockets: every error is converted, and no call is retried."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.loaders import Loader

from tests.aws.stub_server import Stub, closed_port, make_control_plane, silent_server, stub_server
from tests.support.clocks import ManualClock
from tokensvc.aws import ivs as aws
from tokensvc.aws.ivs import CLIENTS_MAX, ERROR_CLASSES, AwsControlPlane, default_region, ivs_regions
from tokensvc.errors import (
    Action,
    ControlPlaneConflict,
    ControlPlaneDenied,
    ControlPlaneError,
    ControlPlaneQuotaExceeded,
    ControlPlaneRejected,
    ControlPlaneResourceMissing,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
    Remedy,
    SettingsError,
)
from tokensvc.local_ivs import api_model

MODEL = Loader().load_service_model("ivs", "service-2")
MODELLED = {name: shape["error"] for name, shape in MODEL["shapes"].items() if shape.get("exception")}
LIST: tuple[str, str, dict[str, Any]] = ("us-east-1", "ListPlaybackKeyPairs", {})
BATCH: tuple[str, str, dict[str, Any]] = (
    "us-east-1",
    "BatchStartViewerSessionRevocation",
    {"viewerSessions": [{"channelArn": "arn:aws:ivs:us-east-1:123456789012:channel/a", "viewerId": "v"}]},
)


@pytest.fixture
def server() -> Iterator[tuple[Stub, AwsControlPlane]]:
    with stub_server() as (stub, ivs):
        yield stub, ivs


def error_of(stub: Stub, ivs: AwsControlPlane, status: int, code: str) -> ControlPlaneError:
    stub.status, stub.body = (
        status,
        json.dumps({"exceptionMessage": "message of IVS", "message": "message of IVS"}).encode(),
    )
    stub.headers = {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/", "x-amzn-RequestId": "request-1"}
    with pytest.raises(ControlPlaneError) as raised:
        ivs.call(*LIST)
    return raised.value


def test_every_error_of_the_model_has_a_class() -> None:
    assert set(MODELLED) <= set(ERROR_CLASSES)


@pytest.mark.parametrize("name", sorted(MODELLED))
def test_every_error_of_the_model_is_converted_with_its_details(
    server: tuple[Stub, AwsControlPlane], name: str
) -> None:
    error = error_of(*server, MODELLED[name]["httpStatusCode"], name)
    assert type(error) is ERROR_CLASSES[name]
    assert error.ivs_code == name
    assert error.status == MODELLED[name]["httpStatusCode"]
    assert error.operation == "ListPlaybackKeyPairs"
    assert error.request_id == "request-1"
    assert "message of IVS" in error.message
    assert error.__cause__ is None
    assert server[0].observed == [("ListPlaybackKeyPairs", name)]


@pytest.mark.slow
def test_the_code_and_message_of_an_error_are_made_printable(server: tuple[Stub, AwsControlPlane]) -> None:
    """They are stored, logged and displayed. PostgreSQL cannot store NUL, nor UTF-8 half of a surrogate pair."""
    stub, ivs = server
    text = "\0 \x1b[2J \ud800 \u202e"
    stub.status, stub.body = 400, json.dumps({"message": text, "code": f"Odd{text}"}).encode()
    with pytest.raises(ControlPlaneError) as raised:
        ivs.call("us-east-1", "GetChannel", {"arn": "arn:aws:ivs:us-east-1:123456789012:channel/a"})
    for shown in (raised.value.message, raised.value.ivs_code, raised.value.request_id):
        assert shown.isprintable()
    assert r"\x00 \x1b[2J \ud800 \u202e" in raised.value.message


def test_the_errors_that_use_cases_handle_have_the_expected_classes() -> None:
    """Rotation continues after a missing key pair, waits after a throttle, and otherwise reports a problem."""
    assert ERROR_CLASSES["ResourceNotFoundException"] is ControlPlaneResourceMissing
    assert ERROR_CLASSES["ThrottlingException"] is ControlPlaneThrottled
    assert ERROR_CLASSES["ServiceQuotaExceededException"] is ControlPlaneQuotaExceeded
    assert ERROR_CLASSES["ConflictException"] is ControlPlaneConflict
    assert ERROR_CLASSES["ValidationException"] is ControlPlaneRejected
    assert ERROR_CLASSES["AccessDeniedException"] is ERROR_CLASSES["PendingVerification"] is ControlPlaneDenied
    assert ERROR_CLASSES["InternalServerException"] is ControlPlaneUnavailable


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, ControlPlaneRejected),
        (404, ControlPlaneRejected),
        (401, ControlPlaneDenied),
        (403, ControlPlaneDenied),
        (429, ControlPlaneThrottled),
        (500, ControlPlaneUnavailable),
        (503, ControlPlaneUnavailable),
    ],
)
def test_an_unknown_error_is_classified_by_its_status(
    server: tuple[Stub, AwsControlPlane], status: int, error_class: type[ControlPlaneError]
) -> None:
    error = error_of(*server, status, "BrandNewException")
    assert type(error) is error_class
    assert error.ivs_code == "BrandNewException"


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException", "ServiceUnavailable"])
def test_a_call_is_one_attempt(server: tuple[Stub, AwsControlPlane], code: str) -> None:
    """boto3 would retry these by itself, and the calls could not be paced."""
    error_of(*server, 503, code)
    assert server[0].paths == ["/ListPlaybackKeyPairs"]


def test_the_environment_cannot_enable_retries(server: tuple[Stub, AwsControlPlane]) -> None:
    os.environ.update(AWS_MAX_ATTEMPTS="5", AWS_RETRY_MODE="standard")
    error_of(*server, 500, "InternalServerException")
    assert len(server[0].paths) == 1


def test_a_response_has_only_modelled_members(server: tuple[Stub, AwsControlPlane]) -> None:
    stub, ivs = server
    stub.body = b'{"keyPairs":[{"arn":"arn:aws:ivs:us-east-1:1:playback-key/a","unmodelled":1}]}'
    assert ivs.call(*LIST) == {"keyPairs": [{"arn": "arn:aws:ivs:us-east-1:1:playback-key/a"}]}
    assert stub.observed == [("ListPlaybackKeyPairs", "ok")]


def test_an_operation_may_have_an_empty_response(server: tuple[Stub, AwsControlPlane]) -> None:
    arn = "arn:aws:ivs:us-east-1:123456789012:playback-key/a"
    assert server[1].call("us-east-1", "DeletePlaybackKeyPair", {"arn": arn}) == {}


@pytest.mark.parametrize(
    "body",
    [b"<html>", b'{"keyPairs":', b"[]", b"null", b'{"keyPairs":5}', b'{"keyPairs":[5]}', b"\xff\xfe", b"", b"{}"],
)
def test_a_response_that_is_not_from_ivs_is_an_error(server: tuple[Stub, AwsControlPlane], body: bytes) -> None:
    """A proxy's page with status 200: if it were taken for an empty list, a key would be imported twice."""
    server[0].body = body
    with pytest.raises(ControlPlaneUnavailable) as raised:
        server[1].call(*LIST)
    assert raised.value.ivs_code == "Unreadable"
    assert server[0].observed == [("ListPlaybackKeyPairs", "Unreadable")]


@pytest.mark.parametrize("body", [b"{}", b'{"errors": []}'])
def test_a_batch_without_failures_succeeds(server: tuple[Stub, AwsControlPlane], body: bytes) -> None:
    server[0].body, server[0].headers = body, {"x-amzn-RequestId": "request-1"}
    assert not server[1].call(*BATCH).get("errors")


def test_an_empty_response_without_a_request_id_is_an_error(server: tuple[Stub, AwsControlPlane]) -> None:
    """If it were taken for a successful batch, the batch would be lost."""
    server[0].body = b"{}"
    with pytest.raises(ControlPlaneUnavailable):
        server[1].call(*BATCH)


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[]", b""])
def test_an_error_response_that_is_not_from_ivs_is_classified_by_its_status(
    server: tuple[Stub, AwsControlPlane], body: bytes
) -> None:
    server[0].status, server[0].body = 502, body
    with pytest.raises(ControlPlaneUnavailable):
        server[1].call(*LIST)


def test_a_truncated_response_is_an_error(server: tuple[Stub, AwsControlPlane]) -> None:
    server[0].body, server[0].content_length = b'{"keyPairs":[', 500
    with pytest.raises(ControlPlaneUnavailable):
        server[1].call(*LIST)


def test_a_refused_connection_is_unavailable() -> None:
    stub = Stub()
    with pytest.raises(ControlPlaneUnavailable) as raised:
        make_control_plane(closed_port(), stub).call(*LIST)
    assert raised.value.ivs_code == "EndpointConnectionError"
    assert raised.value.status == 0
    assert stub.observed == [("ListPlaybackKeyPairs", "EndpointConnectionError")]


def test_a_server_that_does_not_respond_is_unavailable() -> None:
    """With boto3's own exception; the timeout of five seconds is shortened in its connection pool."""
    with silent_server() as port:
        ivs = make_control_plane(port, Stub())
        ivs._client("us-east-1")._endpoint.http_session._manager.connection_pool_kw["timeout"] = 0.05
        with pytest.raises(ControlPlaneUnavailable) as raised:
            ivs.call(*LIST)
    assert raised.value.ivs_code == "ReadTimeoutError"


def test_the_timeouts_are_two_seconds_to_connect_and_five_to_read() -> None:
    config = make_control_plane(closed_port(), Stub())._client("us-east-1").meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries["total_max_attempts"] == 1


@pytest.mark.slow
def test_the_cache_of_clients_is_limited_and_keeps_those_in_use(server: tuple[Stub, AwsControlPlane]) -> None:
    _, ivs = server
    cached = ivs._client("us-east-1")
    for number in range(CLIENTS_MAX + 5):
        ivs._client(f"invented-{number}")
        assert ivs._client("us-east-1") is cached
    assert len(ivs._clients) == CLIENTS_MAX


def test_a_request_that_boto3_finds_invalid_is_rejected() -> None:
    with pytest.raises(ControlPlaneRejected) as raised:
        make_control_plane(closed_port(), Stub()).call("us-east-1", "ImportPlaybackKeyPair", {"publicKeyMaterial": 5})
    assert raised.value.ivs_code == "ParamValidationError"


def test_missing_credentials_are_denied(tmp_path: Path) -> None:
    ivs = make_control_plane(closed_port(), Stub())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "none")
    with pytest.raises(ControlPlaneDenied) as raised:
        ivs.call(*LIST)
    assert raised.value.ivs_code == "NoCredentialsError"


TRANSPORT_ERRORS = {
    boto.EndpointConnectionError(endpoint_url="http://x"): ControlPlaneUnavailable,
    boto.ConnectTimeoutError(endpoint_url="http://x"): ControlPlaneUnavailable,
    boto.ReadTimeoutError(endpoint_url="http://x"): ControlPlaneUnavailable,
    boto.ConnectionClosedError(endpoint_url="http://x"): ControlPlaneUnavailable,
    boto.SSLError(endpoint_url="https://x", error="bad"): ControlPlaneUnavailable,
    boto.ProxyConnectionError(proxy_url="http://x"): ControlPlaneUnavailable,
    boto.NoCredentialsError(): ControlPlaneDenied,
    boto.PartialCredentialsError(provider="env", cred_var="x"): ControlPlaneDenied,
    boto.UnauthorizedSSOTokenError(): ControlPlaneDenied,
    boto.ParamValidationError(report="bad"): ControlPlaneRejected,
    boto.NoRegionError(): ControlPlaneRejected,
}


@pytest.mark.parametrize(("boto_error", "error_class"), TRANSPORT_ERRORS.items(), ids=lambda p: type(p).__name__)
def test_transport_errors_of_boto3_are_converted(
    boto_error: boto.BotoCoreError, error_class: type[ControlPlaneError]
) -> None:
    error = aws._from_transport_error("ListStreams", boto_error)
    assert type(error) is error_class
    assert error.ivs_code == type(boto_error).__name__


@pytest.mark.parametrize(
    "environ",
    [{"AWS_PROFILE": "nobody"}, {"AWS_ENDPOINT_URL_IVS": "no-url"}, {"AWS_CONFIG_FILE": "BROKEN"}],
    ids=["unknown profile", "endpoint that is not a URL", "malformed file"],
)
def test_an_unusable_boto3_configuration_is_a_settings_error(tmp_path: Path, environ: dict[str, Any]) -> None:
    (tmp_path / "config").write_text("[[[x\n=1")
    ivs = make_control_plane(closed_port(), Stub())
    os.environ.update({k: str(tmp_path / "config") if v == "BROKEN" else v for k, v in environ.items()})
    with pytest.raises(SettingsError):
        ivs.check("us-east-1")
    with pytest.raises(SettingsError):
        ivs.call(*LIST)
    if "AWS_ENDPOINT_URL_IVS" not in environ:
        with pytest.raises(SettingsError):
            default_region()


@pytest.mark.slow
def test_the_endpoint_must_match_the_control_plane_setting() -> None:
    make_control_plane(closed_port(), Stub()).check("us-east-1")
    with pytest.raises(SettingsError) as raised:
        AwsControlPlane("aws", lambda *_: None).check("us-east-1")
    assert raised.value.remedy == Remedy(Action.UNSET_IVS_ENDPOINT)
    del os.environ["AWS_ENDPOINT_URL_IVS"]
    AwsControlPlane("aws", lambda *_: None).check("us-east-1")
    with pytest.raises(SettingsError) as raised:
        AwsControlPlane("local", lambda *_: None).check("us-east-1")
    assert raised.value.remedy == Remedy(Action.SET_IVS_ENDPOINT)
    for pretender in ("http://ivs.us-east-1.amazonaws.com.evil.example", "http://amazonaws.com"):
        os.environ["AWS_ENDPOINT_URL_IVS"] = pretender
        with pytest.raises(SettingsError):
            AwsControlPlane("aws", lambda *_: None).check("us-east-1")


def test_the_default_region_is_boto3_s_or_else_aws_region() -> None:
    os.environ["AWS_CONFIG_FILE"] = os.devnull
    assert default_region() is None
    os.environ["AWS_REGION"] = "eu-west-1"
    assert default_region() == "eu-west-1"
    os.environ["AWS_DEFAULT_REGION"] = "us-west-2"
    assert default_region() == "us-west-2"


def test_an_error_contains_no_secret(server: tuple[Stub, AwsControlPlane]) -> None:
    error = error_of(*server, 403, "InvalidSignatureException")
    assert "hunter2" not in f"{error}{error!r}{error.detail}{vars(error)}"


@pytest.mark.parametrize(
    ("date", "offset"),
    [
        ("Fri, 15 Jan 2027 08:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2027 07:58:50 GMT", 70.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", -30.0),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_clock_offset_follows_from_the_date_of_a_response(
    server: tuple[Stub, AwsControlPlane], clock: ManualClock, date: str, offset: float | None
) -> None:
    stub, _ = server
    stub.body, stub.date = b'{"keyPairs": []}', date
    ivs = AwsControlPlane("local", clock=clock)
    assert ivs.clock_offset_seconds("us-east-1") is None
    ivs.call(*LIST)
    assert ivs.clock_offset_seconds("us-east-1") == offset
    assert ivs.clock_offset_seconds("us-west-2") is None


@pytest.mark.slow
def test_the_regions_of_ivs_are_botocore_s_and_the_local_ivs_s() -> None:
    assert {"us-east-1", "eu-west-1"} < ivs_regions() == api_model.regions()
    assert "eu-west-2" not in ivs_regions()
