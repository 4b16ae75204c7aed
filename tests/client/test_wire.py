"""The client's objects have the fields of the API, as its OpenAPI document describes them."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta, timezone
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from tokensvc.client import (
    AcceptedRevocation,
    AdInsertion,
    Denial,
    DenialRequest,
    ExplainedRule,
    Explanation,
    InvalidResponseError,
    Key,
    KeyDetail,
    KeyPlacement,
    KeyStep,
    PlaybackToken,
    Revocation,
    RevocationRequest,
    RevocationTarget,
    StaleWorker,
    TokenRequest,
)
from tokensvc.client.wire import camel_case, from_json, parse, to_json, to_members
from tokensvc.web.openapi import document
from tokensvc.web.routes import OPERATIONS

SCHEMAS = document(OPERATIONS)["components"]["schemas"]
REQUESTS: tuple[type[Any], ...] = (TokenRequest, AdInsertion, RevocationRequest, DenialRequest)
RESPONSES: dict[type[Any], str] = {
    PlaybackToken: "TokenResponse",
    **{
        kind: kind.__name__
        for kind in (
            AcceptedRevocation,
            Denial,
            ExplainedRule,
            Explanation,
            Key,
            KeyDetail,
            KeyPlacement,
            KeyStep,
            Revocation,
            RevocationTarget,
            StaleWorker,
        )
    },
}
OWN = {"server_time"}
"""What the client adds."""
CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
TOKEN: dict[str, Any] = {
    "token": "eyJhbGciOiJFUzM4NCJ9.e30.c2lnbmF0dXJl",
    "playbackUrl": "https://playback.example.com/a.m3u8?token=eyJhbGciOiJFUzM4NCJ9.e30.c2lnbmF0dXJl",
    "expiresAt": "2026-11-21T10:02:00Z",
    "refreshAfter": "2026-11-21T10:01:36Z",
    "requiresOriginHeader": False,
    "viewerId": "viewer-17",
    "viewerSessionVersion": 1795255200,
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_has_the_fields_of_the_api_and_requires_what_it_requires(kind: type[Any]) -> None:
    schema = SCHEMAS[kind.__name__]
    assert {camel_case(each.name) for each in fields(kind)} == schema["properties"].keys()
    required = {camel_case(each.name) for each in fields(kind) if each.default is MISSING}
    assert required == set(schema.get("required", ()))


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_values_that_a_field_of_a_request_can_have_are_those_of_the_api(kind: type[Any]) -> None:
    hints = get_type_hints(kind)
    for each in fields(kind):
        described = SCHEMAS[kind.__name__]["properties"][camel_case(each.name)]
        literals = [part for part in get_args(hints[each.name]) if get_origin(part) is Literal]
        listed = [value for literal in literals for value in get_args(literal)]
        assert listed == [value for value in described.get("enum", ()) if value is not None]


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_response_has_the_members_of_the_api_with_their_types(kind: type[Any]) -> None:
    schema = SCHEMAS[RESPONSES[kind]]
    hints = get_type_hints(kind)
    own = {each.name for each in fields(kind)} & OWN
    assert {camel_case(name) for name in hints if name not in own} == schema["properties"].keys()
    for each in fields(kind):
        if each.name not in own:
            described = schema["properties"][camel_case(each.name)]
            is_required = camel_case(each.name) in schema["required"]
            assert (each.default is MISSING) == is_required, each.name
            assert _is_optional(hints[each.name]) == (not is_required or "null" in described.get("type", ())), each.name
            assert _plain(hints[each.name]) is _python_type(described), each.name


def _is_optional(hint: Any) -> bool:
    return NoneType in get_args(hint)


def _plain(hint: Any) -> Any:
    plain = next((each for each in get_args(hint) if each is not NoneType), hint) if _is_optional(hint) else hint
    return get_origin(plain) or plain


def _python_type(described: dict[str, Any]) -> type:
    if described.get("format") == "date-time":
        return datetime
    if "$ref" in described:
        return str  # an enum
    kinds = described["type"] if isinstance(described["type"], list) else [described["type"]]
    python = {"string": str, "integer": int, "boolean": bool, "array": list, "number": float}
    return python[next(kind for kind in kinds if kind != "null")]


def test_only_what_differs_from_its_default_is_sent() -> None:
    assert to_members(TokenRequest(CHANNEL)) == {"channelArn": CHANNEL}
    assert to_members(RevocationRequest(channel_arn=CHANNEL, viewer_id="eve", deny_seconds=0)) == {
        "channelArn": CHANNEL,
        "viewerId": "eve",
        "denySeconds": 0,
    }


def test_every_field_is_sent_under_its_name_in_the_api() -> None:
    ads = AdInsertion(opt_out=False, player_params={"a": "b"}, playback_config_name="x", reporting_mode="CLIENT")
    request = TokenRequest(
        CHANNEL,
        subject="ädä \N{GRINNING FACE}",
        ttl_seconds=60,
        allowed_origins=("https://app.example.com",),
        strict_origin_enforcement=True,
        single_use=True,
        maximum_resolution="HD",
        ads=ads,
        require_playback_url=True,
    )
    assert json.loads(to_json(to_members(request))) == {
        "channelArn": CHANNEL,
        "subject": "ädä \N{GRINNING FACE}",
        "ttlSeconds": 60,
        "allowedOrigins": ["https://app.example.com"],
        "strictOriginEnforcement": True,
        "singleUse": True,
        "maximumResolution": "HD",
        "ads": {"optOut": False, "playerParams": {"a": "b"}, "playbackConfigName": "x", "reportingMode": "CLIENT"},
        "requirePlaybackUrl": True,
    }


def test_text_that_is_not_valid_unicode_is_left_to_the_service_to_reject() -> None:
    assert to_json({"viewerId": "\ud800"}) == b'{"viewerId":"\\ud800"}'


def test_a_time_is_sent_in_utc_and_needs_a_time_zone() -> None:
    berlin = datetime(2026, 11, 21, 11, 0, 0, 999, tzinfo=timezone(timedelta(hours=1)))
    assert to_members(DenialRequest(until=berlin))["until"] == "2026-11-21T10:00:00+00:00"
    with pytest.raises(ValueError, match=r"^until must have a time zone"):
        to_members(DenialRequest(until=datetime(2026, 11, 21)))  # noqa: DTZ001 - what is rejected


def test_what_is_not_a_request_of_the_client_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"must be an object of tokensvc\.client"):
        to_members({"channelArn": CHANNEL})


def test_a_response_is_read_with_its_times_and_members_of_later_releases_are_ignored() -> None:
    token = from_json(PlaybackToken, {**TOKEN, "ofALaterRelease": {"x": 1}})
    assert token.expires_at == datetime(2026, 11, 21, 10, 2, tzinfo=UTC)
    assert (token.viewer_id, token.requires_origin_header) == ("viewer-17", False)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({**TOKEN, "token": 7}, "PlaybackToken.token of the response is not of type str"),
        (
            {**TOKEN, "viewerSessionVersion": True},
            "PlaybackToken.viewerSessionVersion of the response is not of type int",
        ),
        ({**TOKEN, "expiresAt": "tomorrow"}, "PlaybackToken.expiresAt of the response is not a time with an offset"),
        ({**TOKEN, "expiresAt": "2026-11-21T10:02:00"}, "PlaybackToken.expiresAt of the response is not a time"),
        ({**TOKEN, "expiresAt": 7}, "PlaybackToken.expiresAt of the response is not a time"),
        ({k: v for k, v in TOKEN.items() if k != "token"}, "the response has no PlaybackToken.token"),
        ([], "PlaybackToken of the response is not an object"),
        (None, "PlaybackToken of the response is not an object"),
    ],
)
def test_a_response_of_another_form_is_rejected_with_the_name_of_the_member_and_without_its_value(
    members: object, message: str
) -> None:
    with pytest.raises(InvalidResponseError) as raised:
        from_json(PlaybackToken, members)
    assert str(raised.value).startswith(message)
    assert TOKEN["token"] not in str(raised.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_rejected_whatever_it_is(body: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="the response is not JSON"):
        parse(body)


def test_no_repr_shows_a_token_or_who_the_viewer_is() -> None:
    shown = [
        repr(from_json(PlaybackToken, TOKEN)),
        repr(TokenRequest(CHANNEL, viewer_id="viewer-17")),
        repr(TokenRequest(CHANNEL, subject="viewer-17")),
        repr(RevocationRequest(channel_arn=CHANNEL, viewer_id="viewer-17")),
        repr(DenialRequest(channel_arn=CHANNEL, subject="viewer-17")),
    ]
    assert not [text for text in shown if "viewer-17" in text or "eyJ" in text]
