"""Token requests: every bad field is named in one response, in our own messages, which repeat nothing that was sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.errors import InvalidRequest
from tokensvc.tokens import claims as c
from tokensvc.tokens.request import TokenRequest, parse_token_request

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"
PASTED = "-----BEGIN EC PRIVATE KEY----- MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY"


def errors_of(**fields: Any) -> dict[str, str]:
    """The messages for a request with these fields, by field; a valid channel is added."""
    with pytest.raises(InvalidRequest) as error:
        parse_token_request({"channelArn": ARN} | fields)
    messages = [e.field for e in error.value.errors]
    assert len(messages) == len(set(messages)), "each field is named once"
    return {e.field: e.message for e in error.value.errors}


def error_of(fields: object) -> InvalidRequest | None:
    try:
        parse_token_request(fields)
    except InvalidRequest as error:
        return error
    return None


def test_the_minimal_request_is_a_channel() -> None:
    request = parse_token_request({"channelArn": ARN})
    assert request.channel_arn == ARN
    assert (request.viewer_id, request.subject, request.ttl_seconds, request.allowed_origins, request.ads) == (
        None,
    ) * 5
    assert not request.strict_origin_enforcement
    assert not request.single_use


def test_every_field_is_accepted() -> None:
    request = parse_token_request(
        {
            "channelArn": ARN,
            "viewerId": "v",
            "ttlSeconds": 600,
            "allowedOrigins": ["https://*.example.com", "*"],
            "strictOriginEnforcement": True,
            "singleUse": True,
            "maximumResolution": "HD",
            "ads": {
                "optOut": False,
                "playerParams": {"k": "v"},
                "playbackConfigName": "summer",
                "reportingMode": "CLIENT",
            },
        }
    )
    assert request.ads is not None
    assert request.ads.player_params == {"k": "v"}
    assert request.allowed_origins == ["https://*.example.com", "*"]


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"channelArn": None}, "channelArn", "must be a string"),
        ({"channelArn": "abc"}, "channelArn", "must have the form arn:aws:ivs:"),
        ({"channelArn": ARN.replace("channel", "playback-key")}, "channelArn", "must have the form"),
        ({"viewerId": ""}, "viewerId", "must have 1 to 40 characters"),
        ({"viewerId": "v" * 41}, "viewerId", "must have 1 to 40 characters"),
        ({"viewerId": "a\x1bb"}, "viewerId", "must not contain control characters"),
        ({"viewerId": 1}, "viewerId", "must be a string"),
        ({"subject": ""}, "subject", "must not be empty"),
        ({"subject": "s" * 1025}, "subject", "must have at most 1024 characters"),
        ({"subject": "\ud800"}, "subject", "must be text that UTF-8 can encode"),
        ({"ttlSeconds": 0}, "ttlSeconds", "must be at least 1"),
        ({"ttlSeconds": "300"}, "ttlSeconds", "must be an integer"),
        ({"ttlSeconds": 300.0}, "ttlSeconds", "must be an integer"),
        ({"ttlSeconds": True}, "ttlSeconds", "must be an integer"),
        ({"allowedOrigins": "https://a.example"}, "allowedOrigins", "must be a list"),
        ({"allowedOrigins": []}, "allowedOrigins", "must not be empty"),
        ({"allowedOrigins": ["*"] * 101}, "allowedOrigins", "must have at most 100 entries"),
        ({"allowedOrigins": ["*", "https://a.example/"]}, "allowedOrigins[1]", "without path"),
        ({"allowedOrigins": ["https://a.example,https://b.example"]}, "allowedOrigins[0]", "must be"),
        ({"strictOriginEnforcement": "yes"}, "strictOriginEnforcement", "must be true or false"),
        ({"strictOriginEnforcement": None}, "strictOriginEnforcement", "must be true or false"),
        ({"singleUse": 1}, "singleUse", "must be true or false"),
        ({"maximumResolution": "4K"}, "maximumResolution", "must be one of 'SD', 'HD' or 'FULL_HD'"),
        ({"ads": []}, "ads", "must be an object"),
        ({"ads": {"optOut": "no"}}, "ads.optOut", "must be true or false"),
        ({"ads": {"playerParams": {"k": 1}}}, "ads.playerParams.k", "must be a string"),
        ({"ads": {"playerParams": {"k": "v" * 1000}}}, "ads.playerParams", "at most 1000 bytes"),
        ({"ads": {"playbackConfigName": ""}}, "ads.playbackConfigName", "must not be empty"),
        ({"ads": {"reportingMode": "BOTH"}}, "ads.reportingMode", "must be one of 'CLIENT' or 'SERVER'"),
        ({"ads": {"optout": True}}, "ads.optout", "is not a known field"),
        ({"exp": 1}, "exp", "is not a known field"),
        ({"aws:viewer-id": "v"}, "aws:viewer-id", "is not a known field"),
        ({"viewer_id": "v"}, "viewer_id", "is not a known field"),
        ({"viewerSessionVersion": 1}, "viewerSessionVersion", "is not a known field"),
        ({"viewerId": "v", "subject": "s"}, "subject", "must be left out when viewerId is given"),
        ({"viewerId": "v", "ttlSeconds": 601}, "ttlSeconds", "must be at most 600"),
        ({"subject": "s", "ttlSeconds": 601}, "ttlSeconds", "must be at most 600"),
        ({"singleUse": True, "ttlSeconds": 601}, "ttlSeconds", "must be at most 600"),
        ({"allowedOrigins": ["*"] * 6, "strictOriginEnforcement": True}, "allowedOrigins", "at most 5 origins"),
    ],
)
def test_a_bad_field_is_named_with_its_rule(fields: dict[str, Any], field: str, rule: str) -> None:
    messages = errors_of(**fields)
    assert list(messages) == [field]
    assert rule in messages[field]


def test_a_missing_channel_is_named() -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_token_request({})
    assert [(e.field, e.message) for e in error.value.errors] == [("channelArn", "is required")]


@pytest.mark.parametrize("fields", [[], "request", 5, None, True])
def test_anything_but_an_object_is_rejected(fields: object) -> None:
    with pytest.raises(InvalidRequest, match="must be an object"):
        parse_token_request(fields)


def test_every_bad_field_is_named_at_once() -> None:
    """Including the rules on two fields, even if other fields cannot be parsed."""
    messages = errors_of(
        channelArn=5,
        viewerId="v",
        subject="s",
        ttlSeconds=100_000,
        allowedOrigins=["https://a.example"] * 5 + ["https://b.example:443"],
        strictOriginEnforcement=True,
        singleUse="x",
        maximumResolution="4K",
        ads={"optOut": 1, "playerParams": {"k": []}, "unknown": 1},
        nothing=1,
    )
    assert set(messages) == {
        "channelArn",
        "subject",
        "ttlSeconds",
        "allowedOrigins",
        "allowedOrigins[5]",
        "singleUse",
        "maximumResolution",
        "ads.optOut",
        "ads.playerParams.k",
        "ads.unknown",
        "nothing",
    }


def test_values_of_the_wrong_type_break_no_rule_on_two_fields() -> None:
    assert set(errors_of(viewerId="v", ttlSeconds="601")) == {"ttlSeconds"}
    assert set(errors_of(singleUse="true", ttlSeconds=601)) == {"singleUse"}
    assert set(errors_of(strictOriginEnforcement="true", allowedOrigins=["*"] * 6)) == {"strictOriginEnforcement"}


def test_the_ten_minute_limit_applies_only_with_a_viewer_or_a_single_use() -> None:
    assert parse_token_request({"channelArn": ARN, "ttlSeconds": 86_400}).ttl_seconds == 86_400
    assert parse_token_request({"channelArn": ARN, "ttlSeconds": 600, "singleUse": True}).ttl_seconds == 600


FIELDS = ("channelArn", "viewerId", "subject", "ttlSeconds", "allowedOrigins", "strictOriginEnforcement", "singleUse",
          "maximumResolution", "ads")  # fmt: skip
PASTES = st.sampled_from(
    [PASTED, [PASTED], {"optOut": PASTED, "reportingMode": PASTED, "playerParams": {"k": [PASTED]}}]
)


@given(st.dictionaries(st.sampled_from(FIELDS), PASTES, min_size=1))
def test_a_value_pasted_into_the_wrong_field_is_never_repeated(fields: dict[str, Any]) -> None:
    error = error_of(fields)
    if error is not None:
        assert PASTED[:30] not in repr(error) + error.message + str(error.errors) + repr(error.__cause__)
        assert error.__suppress_context__, "a traceback would show the input"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(ANYTHING | st.dictionaries(st.sampled_from([*FIELDS, "{0}", "{x}"]), ANYTHING))
def test_any_json_is_accepted_or_rejected_with_our_messages(fields: Any) -> None:
    error = error_of(fields)
    if error is not None:
        assert error.errors
        for field in error.errors:
            assert field.message.startswith(("must ", "is required", "is not a known field", "keys and values")), field


def test_the_schema_says_which_ttls_are_shortened() -> None:
    described = TokenRequest.model_json_schema()["properties"]["ttlSeconds"]["description"]
    shortened = c.TEN_MINUTES_SECONDS - c.EXP_SKEW_ALLOWANCE_SECONDS
    assert f"at most {c.TEN_MINUTES_SECONDS}" in described
    assert f"{shortened + 1} to {c.TEN_MINUTES_SECONDS} become {shortened}" in described


@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "maximum_resolution": st.sampled_from(["SD", "HD", "FULL_HD"]),
            "single_use": st.booleans(),
            "subject": st.none() | st.just("s"),
            "allowed_origins": st.just(["https://app.example.com"]),
        },
    )
)
def test_a_copy_with_other_values_is_what_pydantic_makes(values: dict[str, Any]) -> None:
    request = parse_token_request({"channelArn": ARN, "viewerId": "v"})
    copy = request.with_values(values)
    expected = request.model_copy(update=values)
    assert copy == expected
    assert copy.model_dump(exclude_unset=True) == expected.model_dump(exclude_unset=True)
    assert copy.model_copy() == copy
    assert request == parse_token_request({"channelArn": ARN, "viewerId": "v"}), "the original is unchanged"
