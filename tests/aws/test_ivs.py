"""boto3, unmodified, over real sockets: every failure becomes ours, once, and is never tried again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.loaders import Loader

from tests.aws.wire import Told, closed_port, control_plane, hanging, told
from tests.support.clocks import ManualClock
from tokensvc.aws import ivs as aws
from tokensvc.aws.ivs import CLIENTS_MAX, ERROR_CLASSES, AwsControlPlane, default_region, ivs_regions
from tokensvc.errors import (
    Action,
    ControlPlaneError,
    ControlPlaneDenied,
    ControlPlaneQuotaExceeded,
    ControlPlaneRejected,
    Remedy,
    ControlPlaneConflict,
    ControlPlaneResourceMissing,
    SettingsError,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
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
def server() -> Iterator[tuple[Told, AwsControlPlane]]:
    with told() as both:
        yield both


def refusal_of(what: Told, ivs: AwsControlPlane, status: int, code: str) -> ControlPlaneError:
    what.status, what.body = (
        status,
        json.dumps({"exceptionMessage": "words of IVS", "message": "words of IVS"}).encode(),
    )
    what.headers = {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/", "x-amzn-RequestId": "request-1"}
    with pytest.raises(ControlPlaneError) as refused:
        ivs.call(*LIST)
    return refused.value


def test_every_error_of_the_model_has_a_row() -> None:
    assert set(MODELLED) <= set(ERROR_CLASSES)


@pytest.mark.parametrize("name", sorted(MODELLED))
def test_every_error_of_the_model_becomes_ours_and_keeps_what_ivs_said(
    server: tuple[Told, AwsControlPlane], name: str
) -> None:
    failure = refusal_of(*server, MODELLED[name]["httpStatusCode"], name)
    assert type(failure) is ERROR_CLASSES[name]
    assert failure.ivs_code == name
    assert failure.status == MODELLED[name]["httpStatusCode"]
    assert failure.operation == "ListPlaybackKeyPairs"
    assert failure.request_id == "request-1"
    assert "words of IVS" in failure.message
    assert failure.__cause__ is None
    assert server[0].observed == [("ListPlaybackKeyPairs", name)]


def test_an_errors_code_and_message_become_printable(server: tuple[Told, AwsControlPlane]) -> None:
    """It is stored, logged and displayed. PostgreSQL stores no NUL, and UTF-8 has no half of a surrogate pair."""
    what, ivs = server
    words = "\0 \x1b[2J \ud800 \u202e"
    what.status, what.body = 400, json.dumps({"message": words, "code": f"Odd{words}"}).encode()
    with pytest.raises(ControlPlaneError) as failed:
        ivs.call("us-east-1", "GetChannel", {"arn": "arn:aws:ivs:us-east-1:123456789012:channel/a"})
    for text in (failed.value.message, failed.value.ivs_code, failed.value.request_id):
        assert text.isprintable()
    assert r"\x00 \x1b[2J \ud800 \u202e" in failed.value.message


def test_the_rows_mean_what_the_use_cases_act_on() -> None:
    """Written a second time: rotation goes on after a missing pair, waits after a throttle, asks for help else."""
    assert ERROR_CLASSES["ResourceNotFoundException"] is ControlPlaneResourceMissing
    assert ERROR_CLASSES["ThrottlingException"] is ControlPlaneThrottled
    assert ERROR_CLASSES["ServiceQuotaExceededException"] is ControlPlaneQuotaExceeded
    assert ERROR_CLASSES["ConflictException"] is ControlPlaneConflict
    assert ERROR_CLASSES["ValidationException"] is ControlPlaneRejected
    assert ERROR_CLASSES["AccessDeniedException"] is ERROR_CLASSES["PendingVerification"] is ControlPlaneDenied
    assert ERROR_CLASSES["InternalServerException"] is ControlPlaneUnavailable


@pytest.mark.parametrize(
    ("status", "kind"),
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
def test_an_error_that_nobody_described_is_judged_by_its_status(
    server: tuple[Told, AwsControlPlane], status: int, kind: type[ControlPlaneError]
) -> None:
    failure = refusal_of(*server, status, "BrandNewException")
    assert type(failure) is kind
    assert failure.ivs_code == "BrandNewException"


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException", "ServiceUnavailable"])
def test_a_call_is_one_attempt(server: tuple[Told, AwsControlPlane], code: str) -> None:
    """boto3 would retry these by itself; then nobody could pace the calls."""
    refusal_of(*server, 503, code)
    assert server[0].paths == ["/ListPlaybackKeyPairs"]


def test_environment_and_profile_cannot_bring_the_retries_back(server: tuple[Told, AwsControlPlane]) -> None:
    os.environ.update(AWS_MAX_ATTEMPTS="5", AWS_RETRY_MODE="standard")
    refusal_of(*server, 500, "InternalServerException")
    assert len(server[0].paths) == 1


def test_an_answer_is_the_modelled_one(server: tuple[Told, AwsControlPlane]) -> None:
    what, ivs = server
    what.body = b'{"keyPairs":[{"arn":"arn:aws:ivs:us-east-1:1:playback-key/a","unmodelled":1}]}'
    assert ivs.call(*LIST) == {"keyPairs": [{"arn": "arn:aws:ivs:us-east-1:1:playback-key/a"}]}
    assert what.observed == [("ListPlaybackKeyPairs", "ok")]


def test_an_operation_without_an_answer_is_fine(server: tuple[Told, AwsControlPlane]) -> None:
    arn = "arn:aws:ivs:us-east-1:123456789012:playback-key/a"
    assert server[1].call("us-east-1", "DeletePlaybackKeyPair", {"arn": arn}) == {}


@pytest.mark.parametrize(
    "body",
    [b"<html>", b'{"keyPairs":', b"[]", b"null", b'{"keyPairs":5}', b'{"keyPairs":[5]}', b"\xff\xfe", b"", b"{}"],
)
def test_what_is_no_answer_of_ivs_is_no_success(server: tuple[Told, AwsControlPlane], body: bytes) -> None:
    """A proxy's page with 200: taking it for an empty list would import a key twice."""
    server[0].body = body
    with pytest.raises(ControlPlaneUnavailable) as refused:
        server[1].call(*LIST)
    assert refused.value.ivs_code == "Unreadable"
    assert server[0].observed == [("ListPlaybackKeyPairs", "Unreadable")]


@pytest.mark.parametrize("body", [b"{}", b'{"errors": []}'])
def test_a_batch_of_which_nothing_failed_is_done(server: tuple[Told, AwsControlPlane], body: bytes) -> None:
    server[0].body, server[0].headers = body, {"x-amzn-RequestId": "request-1"}
    assert not server[1].call(*BATCH).get("errors")


def test_an_empty_answer_that_names_no_request_is_not_of_ivs(server: tuple[Told, AwsControlPlane]) -> None:
    """Taking it for a batch that is done would lose the batch."""
    server[0].body = b"{}"
    with pytest.raises(ControlPlaneUnavailable):
        server[1].call(*BATCH)


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[]", b""])
def test_a_refusal_that_is_not_of_ivs_is_judged_by_its_status(
    server: tuple[Told, AwsControlPlane], body: bytes
) -> None:
    server[0].status, server[0].body = 502, body
    with pytest.raises(ControlPlaneUnavailable):
        server[1].call(*LIST)


def test_half_an_answer_is_no_answer(server: tuple[Told, AwsControlPlane]) -> None:
    server[0].body, server[0].declared = b'{"keyPairs":[', 500
    with pytest.raises(ControlPlaneUnavailable):
        server[1].call(*LIST)


def test_a_port_at_which_nobody_listens_is_unavailable() -> None:
    what = Told()
    with pytest.raises(ControlPlaneUnavailable) as refused:
        control_plane(closed_port(), what).call(*LIST)
    assert refused.value.ivs_code == "EndpointConnectionError"
    assert refused.value.status == 0
    assert what.observed == [("ListPlaybackKeyPairs", "EndpointConnectionError")]


def test_a_server_that_says_nothing_is_unavailable() -> None:
    """With boto3's own exception; its five seconds are shortened in its pool of connections."""
    with hanging() as port:
        ivs = control_plane(port, Told())
        ivs._client("us-east-1")._endpoint.http_session._manager.connection_pool_kw["timeout"] = 0.05
        with pytest.raises(ControlPlaneUnavailable) as refused:
            ivs.call(*LIST)
    assert refused.value.ivs_code == "ReadTimeoutError"


def test_nobody_waits_longer_than_two_seconds_to_connect_and_five_to_read() -> None:
    config = control_plane(closed_port(), Told())._client("us-east-1").meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries["total_max_attempts"] == 1


def test_clients_are_bounded_and_the_ones_in_use_are_kept(server: tuple[Told, AwsControlPlane]) -> None:
    _, ivs = server
    kept = ivs._client("us-east-1")
    for number in range(CLIENTS_MAX + 5):
        ivs._client(f"invented-{number}")
        assert ivs._client("us-east-1") is kept
    assert len(ivs._clients) == CLIENTS_MAX


def test_a_request_that_boto3_itself_refuses_is_rejected() -> None:
    with pytest.raises(ControlPlaneRejected) as refused:
        control_plane(closed_port(), Told()).call("us-east-1", "ImportPlaybackKeyPair", {"publicKeyMaterial": 5})
    assert refused.value.ivs_code == "ParamValidationError"


def test_missing_credentials_are_a_denial(tmp_path: Path) -> None:
    ivs = control_plane(closed_port(), Told())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "none")
    with pytest.raises(ControlPlaneDenied) as refused:
        ivs.call(*LIST)
    assert refused.value.ivs_code == "NoCredentialsError"


TRANSPORT = {
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


@pytest.mark.parametrize(("problem", "kind"), TRANSPORT.items(), ids=lambda p: type(p).__name__)
def test_what_boto3_says_of_the_transport_becomes_ours(
    problem: boto.BotoCoreError, kind: type[ControlPlaneError]
) -> None:
    failure = aws._of_transport("ListStreams", problem)
    assert type(failure) is kind
    assert failure.ivs_code == type(problem).__name__


@pytest.mark.parametrize(
    "environ",
    [{"AWS_PROFILE": "nobody"}, {"AWS_ENDPOINT_URL_IVS": "no-url"}, {"AWS_CONFIG_FILE": "BROKEN"}],
    ids=["a profile that is not there", "an endpoint that is no URL", "a broken file"],
)
def test_what_boto3_cannot_be_set_up_with_is_a_fault_of_the_settings(tmp_path: Path, environ: dict[str, Any]) -> None:
    (tmp_path / "config").write_text("[[[x\n=1")
    ivs = control_plane(closed_port(), Told())
    os.environ.update({k: str(tmp_path / "config") if v == "BROKEN" else v for k, v in environ.items()})
    with pytest.raises(SettingsError):
        ivs.check("us-east-1")
    with pytest.raises(SettingsError):
        ivs.call(*LIST)
    if "AWS_ENDPOINT_URL_IVS" not in environ:
        with pytest.raises(SettingsError):
            default_region()


def test_production_never_talks_to_a_local_ivs_nor_the_reverse() -> None:
    control_plane(closed_port(), Told()).check("us-east-1")
    with pytest.raises(SettingsError) as refused:
        AwsControlPlane("aws", lambda *_: None).check("us-east-1")
    assert refused.value.remedy == Remedy(Action.UNSET_IVS_ENDPOINT)
    del os.environ["AWS_ENDPOINT_URL_IVS"]
    AwsControlPlane("aws", lambda *_: None).check("us-east-1")
    with pytest.raises(SettingsError) as refused:
        AwsControlPlane("local", lambda *_: None).check("us-east-1")
    assert refused.value.remedy == Remedy(Action.SET_IVS_ENDPOINT)
    for pretender in ("http://ivs.us-east-1.amazonaws.com.evil.example", "http://amazonaws.com"):
        os.environ["AWS_ENDPOINT_URL_IVS"] = pretender
        with pytest.raises(SettingsError):
            AwsControlPlane("aws", lambda *_: None).check("us-east-1")


def test_the_region_is_boto3s_own_else_aws_region() -> None:
    os.environ["AWS_CONFIG_FILE"] = os.devnull
    assert default_region() is None
    os.environ["AWS_REGION"] = "eu-west-1"
    assert default_region() == "eu-west-1"
    os.environ["AWS_DEFAULT_REGION"] = "us-west-2"
    assert default_region() == "us-west-2"


def test_no_secret_is_in_a_failure(server: tuple[Told, AwsControlPlane]) -> None:
    failure = refusal_of(*server, 403, "InvalidSignatureException")
    assert "hunter2" not in f"{failure}{failure!r}{failure.detail}{vars(failure)}"


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Fri, 15 Jan 2027 08:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2027 07:58:50 GMT", 70.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", -30.0),
        ("yesterday", None),
        ("", None),
    ],
)
def test_how_far_the_clock_is_off_is_seen_by_the_date_of_an_answer(
    server: tuple[Told, AwsControlPlane], clock: ManualClock, date: str, ahead: float | None
) -> None:
    what, _ = server
    what.body, what.date = b'{"keyPairs": []}', date
    ivs = AwsControlPlane("local", clock=clock)
    assert ivs.clock_offset_seconds("us-east-1") is None
    ivs.call(*LIST)
    assert ivs.clock_offset_seconds("us-east-1") == ahead
    assert ivs.clock_offset_seconds("us-west-2") is None


def test_the_regions_of_ivs_are_botocore_s_and_those_that_the_local_ivs_serves() -> None:
    assert {"us-east-1", "eu-west-1"} < ivs_regions() == api_model.regions()
    assert "eu-west-2" not in ivs_regions()
