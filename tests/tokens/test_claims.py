"""The rules of each claim, with values that satisfy and values that break them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.tokens import claims as c

CONTRACT = Path(__file__).parents[3] / "shared/ivs-contract.md"
DOCUMENTED = {
    "aws:channel-arn",
    "aws:access-control-allow-origin",
    "aws:strict-origin-enforcement",
    "aws:single-use-uuid",
    "aws:viewer-id",
    "aws:viewer-session-version",
    "aws:maximum-resolution",
    "aws:ads-opt-out",
    "aws:ads-player-params",
    "aws:ads-playback-config-name",
    "aws:ads-reporting-mode",
    "exp",
}
"""IVS user guide, "Generate and Sign Playback Tokens", and `ads-reporting-mode` from "Server-Side Ad Insertion"."""

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"
UUID = "123e4567-e89b-12d3-a456-426614174000"

KEPT: list[tuple[str, Any]] = [
    (c.CHANNEL_ARN, ARN),
    (c.ALLOW_ORIGIN, "*"),
    (c.ALLOW_ORIGIN, "https://a.example,https://*.b.example"),
    (c.STRICT_ORIGIN, True),
    (c.STRICT_ORIGIN, False),
    (c.SINGLE_USE_UUID, UUID),
    (c.SINGLE_USE_UUID, UUID.upper()),
    (c.SINGLE_USE_UUID, "00000000-0000-0000-0000-000000000000"),
    (c.VIEWER_ID, "v"),
    (c.VIEWER_ID, "v" * 40),
    (c.VIEWER_ID, "ü" * 40),
    (c.VIEWER_SESSION_VERSION, 0),
    (c.VIEWER_SESSION_VERSION, -(2**63)),
    (c.VIEWER_SESSION_VERSION, 2**63 - 1),
    (c.MAXIMUM_RESOLUTION, "SD"),
    (c.MAXIMUM_RESOLUTION, "HD"),
    (c.MAXIMUM_RESOLUTION, "FULL_HD"),
    (c.ADS_OPT_OUT, True),
    (c.ADS_PLAYER_PARAMS, {}),
    (c.ADS_PLAYER_PARAMS, {"k": "v" * 999}),
    (c.ADS_PLAYER_PARAMS, {"k" * 500: "ü" * 250}),
    (c.ADS_PLAYBACK_CONFIG_NAME, "summer"),
    (c.ADS_REPORTING_MODE, "CLIENT"),
    (c.ADS_REPORTING_MODE, "SERVER"),
    (c.EXP, 1_800_000_000),
]

BROKEN: list[tuple[str, Any, str]] = [
    (c.CHANNEL_ARN, "arn:aws:ivs:us-east-1:123456789012:playback-key/abc", "must have the form"),
    (c.CHANNEL_ARN, 5, "must be a string"),
    (c.ALLOW_ORIGIN, "", "must be"),
    (c.ALLOW_ORIGIN, ["https://a.example"], "must be a string"),
    (c.ALLOW_ORIGIN, "https://a.example, https://b.example", "must be"),
    (c.ALLOW_ORIGIN, "https://a.example,", "must be"),
    (c.STRICT_ORIGIN, "true", "must be true or false"),
    (c.STRICT_ORIGIN, 1, "must be true or false"),
    (c.SINGLE_USE_UUID, "", "must be a UUID"),
    (c.SINGLE_USE_UUID, UUID.replace("-", ""), "must be a UUID"),
    (c.SINGLE_USE_UUID, "{" + UUID + "}", "must be a UUID"),
    (c.SINGLE_USE_UUID, UUID + "\n", "must be a UUID"),
    (c.SINGLE_USE_UUID, 7, "must be a string"),
    (c.VIEWER_ID, "", "1 to 40"),
    (c.VIEWER_ID, "v" * 41, "1 to 40"),
    (c.VIEWER_ID, 1234, "must be a string"),
    (c.VIEWER_SESSION_VERSION, True, "must be an integer"),
    (c.VIEWER_SESSION_VERSION, 1.0, "must be an integer"),
    (c.VIEWER_SESSION_VERSION, "1", "must be an integer"),
    (c.VIEWER_SESSION_VERSION, 2**63, "64 bits"),
    (c.VIEWER_SESSION_VERSION, -(2**63) - 1, "64 bits"),
    (c.MAXIMUM_RESOLUTION, "4K", "must be one of SD, HD, FULL_HD"),
    (c.MAXIMUM_RESOLUTION, "hd", "must be one of"),
    (c.MAXIMUM_RESOLUTION, "", "must be one of"),
    (c.MAXIMUM_RESOLUTION, None, "must be a string"),
    (c.ADS_OPT_OUT, 0, "must be true or false"),
    (c.ADS_PLAYER_PARAMS, [], "must be an object"),
    (c.ADS_PLAYER_PARAMS, {"k": 1}, "values are strings"),
    (c.ADS_PLAYER_PARAMS, {"k": {"deep": "v"}}, "values are strings"),
    (c.ADS_PLAYER_PARAMS, {"k": "v" * 1000}, "at most 1000 bytes"),
    (c.ADS_PLAYER_PARAMS, {"k" * 500: "ü" * 251}, "at most 1000 bytes"),
    (c.ADS_PLAYER_PARAMS, {"k": "\ud800" * 400}, "at most 1000 bytes"),
    (c.ADS_PLAYBACK_CONFIG_NAME, "", "must not be empty"),
    (c.ADS_PLAYBACK_CONFIG_NAME, 5, "must be a string"),
    (c.ADS_REPORTING_MODE, "BOTH", "must be one of CLIENT, SERVER"),
    (c.EXP, 1_800_000_000.0, "must be an integer"),
    (c.EXP, "1800000000", "must be an integer"),
    (c.EXP, True, "must be an integer"),
    (c.EXP, None, "must be an integer"),
    (c.EXP, 10**400, "64 bits"),
]


def test_exactly_the_documented_claims_have_a_check() -> None:
    assert set(c.CHECKS) == DOCUMENTED


@pytest.mark.skipif(not CONTRACT.exists(), reason=f"the contract notes are not at {CONTRACT}")
def test_the_documented_claims_are_those_of_the_contract() -> None:
    table = CONTRACT.read_text("utf-8").partition("### 1.2 Claims")[2].partition("###")[0]
    named = set(re.findall(r"^\| `(aws:[a-z-]+|exp)`", table, re.MULTILINE))
    assert named == DOCUMENTED


@pytest.mark.parametrize(("name", "value"), KEPT)
def test_a_valid_value_is_returned(name: str, value: Any) -> None:
    assert c.CHECKS[name](value) == value
    assert type(c.CHECKS[name](value)) is type(value)


@pytest.mark.parametrize(("name", "value", "rule"), BROKEN)
def test_an_invalid_value_is_rejected_with_the_rule(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        c.CHECKS[name](value)


def test_every_claim_is_tested_with_valid_and_invalid_values() -> None:
    assert {name for name, _ in KEPT} == {name for name, _, _ in BROKEN} == DOCUMENTED


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
)


@pytest.mark.slow
@given(st.sampled_from(sorted(DOCUMENTED)), ANYTHING)
def test_a_check_returns_the_value_or_raises_the_rule_without_the_value(name: str, value: Any) -> None:
    try:
        returned = c.CHECKS[name](value)
    except ValueError as failure:
        rule = str(failure)
    else:
        assert returned == value
        return
    assert len(str(value)) < 9 or str(value) not in rule


@given(st.text(max_size=45))
def test_a_viewer_id_has_1_to_40_characters(text: str) -> None:
    if 1 <= len(text) <= 40:
        assert c.check_viewer_id(text) == text
    else:
        with pytest.raises(ValueError, match="1 to 40"):
            c.check_viewer_id(text)


def test_strict_enforcement_allows_at_most_five_origins() -> None:
    c.check_strict_origins(True, 5)
    c.check_strict_origins(False, 100)
    with pytest.raises(ValueError, match="at most 5 origins"):
        c.check_strict_origins(True, 6)


def test_the_limits_are_the_documented_ones() -> None:
    assert (c.TEN_MINUTES_SECONDS, c.EXP_SKEW_ALLOWANCE_SECONDS, c.TOKEN_MAX_BYTES) == (600, 10, 2000)
