"""Caller policies: a pattern matches whole ARNs, and nothing is allowed by default."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.callers.policy import DEFAULT_SCOPES, SCOPES, Caller, CallerPolicy, check_pattern, check_scope
from tokensvc.errors import InsufficientScope

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        ARN,
        "arn:aws:ivs:us-east-1:123456789012:channel/*",
        "arn:aws:ivs:*:123456789012:channel/abc",
        "arn:aws:ivs:us-*:*:channel/a*c",
    ],
)
def test_a_pattern_matches_the_whole_arn(pattern: str) -> None:
    policy = CallerPolicy(channels=(check_pattern(pattern),))
    assert policy.allows_channel(ARN)
    if pattern != "*":
        assert not policy.allows_channel("x" + ARN)
        assert not policy.allows_channel(ARN.replace("channel", "playback-key"))
        assert not policy.allows_channel("")


def test_only_the_star_is_special() -> None:
    """Dots and brackets match themselves: a pattern is not a regular expression."""
    assert not CallerPolicy(channels=("arn.aws.ivs.us-east-1.123456789012.channel/abc",)).allows_channel(ARN)
    assert not CallerPolicy(channels=("[a-z:0-9/-]*",)).allows_channel(ARN)


def test_a_longer_id_is_another_channel() -> None:
    assert not CallerPolicy(channels=(ARN,)).allows_channel(ARN + "d")
    assert not CallerPolicy(channels=(ARN + "d",)).allows_channel(ARN)


def test_without_patterns_no_channel_is_allowed() -> None:
    policy = CallerPolicy(channels=())
    assert not policy.allows_channel(ARN)
    assert not policy.allows_channel("")


def test_several_patterns_are_alternatives() -> None:
    policy = CallerPolicy(channels=("arn:aws:ivs:us-east-1:1:channel/a", "arn:aws:ivs:us-east-1:1:channel/b*"))
    assert policy.allows_channel("arn:aws:ivs:us-east-1:1:channel/a")
    assert policy.allows_channel("arn:aws:ivs:us-east-1:1:channel/b7")
    assert not policy.allows_channel("arn:aws:ivs:us-east-1:1:channel/ab7")


@given(st.lists(st.text("ab*", min_size=1, max_size=5), max_size=3), st.text("ab", max_size=8))
def test_matching_agrees_with_fnmatch(patterns: list[str], name: str) -> None:
    assert CallerPolicy(tuple(patterns)).allows_channel(name) == any(fnmatch.fnmatchcase(name, p) for p in patterns)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "abc",
        "arn:aws:ivs:*",
        "arn:aws:ivs:us-east-1:123456789012:playback-key/*",
        "arn:aws:s3:us-east-1:123456789012:channel/*",
        ARN + "\n",
        ARN + "?",
    ],
)
def test_an_invalid_pattern_is_rejected_with_an_example(pattern: str) -> None:
    with pytest.raises(ValueError, match="channel ARN in which"):
        check_pattern(pattern)


def test_only_known_scopes_are_valid_and_issuing_is_the_default() -> None:
    assert [check_scope(scope) for scope in SCOPES] == list(SCOPES)
    with pytest.raises(ValueError, match="tokens:issue, tokens:explain"):
        check_scope("tokens:*")
    assert CallerPolicy(channels=("*",)).scopes == DEFAULT_SCOPES == {"tokens:issue"}
    assert not CallerPolicy(channels=("*",)).allow_anonymous_viewers


def test_a_missing_scope_is_named() -> None:
    caller = Caller("shop", CallerPolicy(channels=("*",)))
    caller.require_scope("tokens:issue")
    with pytest.raises(InsufficientScope, match="keys:admin"):
        caller.require_scope("keys:admin")
