"""Who is asking, and what they may have."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tokensvc.callers.api_keys import KnownSecret, authenticate, key_digest, key_id_of
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import AnonymousViewerNotAllowed, ChannelNotAllowed, InsufficientScope, Unauthenticated
from tokensvc.tokens.authorization import TokenLimits, authorize
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"
CLOCK = ManualClock()
POLICY = CallerPolicy(channels=("*",))
GOOD = "tsk_abc123_Sec_ret-of-this_key"
OLD = "tsk_old456_another"
SNAPSHOT = Snapshot(
    secrets={
        "abc123": KnownSecret(key_digest(GOOD), None, Caller("shop", POLICY)),
        "old456": KnownSecret(key_digest(OLD), CLOCK.at() + timedelta(seconds=60), Caller("shop", POLICY)),
    },
    max_ttl_seconds=3600,
)


def granted(policy: CallerPolicy, snapshot: Snapshot = SNAPSHOT, **fields: object) -> TokenLimits:
    return authorize(Caller("shop", policy), parse_token_request({"channelArn": ARN} | fields), snapshot)


@pytest.mark.parametrize("header", [f"Bearer {GOOD}", f"bearer {GOOD}", f"BEARER {GOOD}"])
def test_a_known_key_is_its_caller(header: str) -> None:
    assert authenticate(header, SNAPSHOT, CLOCK.now()) == Caller("shop", POLICY)


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    GOOD,
    f"Basic {GOOD}",
    f"Bearer  {GOOD}",
    f"Bearer {GOOD} ",
    f"Bearer {GOOD}x",
    f"Bearer {GOOD[:-1]}",
    "Bearer tsk_abc123_wrong",
    "Bearer tsk_abc123_",
    "Bearer tsk_abc123",
    "Bearer tsk__",
    "Bearer tsk_nobody_secret",
    f"Bearer xxx{GOOD[3:]}",
    f"Bearer {GOOD.upper()}",
    "Bearer tsk_old456_Sec_ret-of-this_key",
    "Bearer \xff\xfe",
]


@pytest.mark.parametrize("header", WRONG)
def test_every_other_header_gets_the_same_words(header: str) -> None:
    """Whoever tries keys must not learn which part was wrong."""
    with pytest.raises(Unauthenticated) as refused:
        authenticate(header, SNAPSHOT, CLOCK.now())
    assert refused.value.message == "an API key is needed: Authorization: Bearer tsk_…"


@given(st.text())
def test_any_header_is_judged(text: str) -> None:
    with pytest.raises(Unauthenticated):
        authenticate(text, SNAPSHOT, CLOCK.now())


@given(st.binary())
def test_any_header_as_the_wire_brings_it_is_judged(raw: bytes) -> None:
    with pytest.raises(Unauthenticated):
        authenticate(f"Bearer tsk_abc123_{raw.decode('latin-1')}", SNAPSHOT, CLOCK.now())


def test_a_key_that_is_rotated_out_ends_at_its_time() -> None:
    assert authenticate(f"Bearer {OLD}", SNAPSHOT, CLOCK.now() + 59.9).name == "shop"
    with pytest.raises(Unauthenticated, match="an API key is needed"):
        authenticate(f"Bearer {OLD}", SNAPSHOT, CLOCK.now() + 60)


def test_the_public_id_is_the_middle_part() -> None:
    assert key_id_of("tsk_abc_s_e_c") == "abc"
    assert key_id_of("tsk_abc") == key_id_of("abc_abc_abc") == key_id_of("") == ""


def test_a_missing_scope_is_named() -> None:
    caller = Caller("shop", POLICY)
    caller.require_scope("tokens:issue")
    with pytest.raises(InsufficientScope, match="keys:admin"):
        caller.require_scope("keys:admin")


def test_a_channel_outside_the_patterns_is_refused() -> None:
    policy = CallerPolicy(channels=(ARN + "d",), allow_anonymous_viewers=True)
    with pytest.raises(ChannelNotAllowed):
        granted(policy)


def test_a_viewer_is_needed_unless_policy_says_otherwise() -> None:
    with pytest.raises(AnonymousViewerNotAllowed, match="viewerId or subject"):
        granted(POLICY)
    with pytest.raises(AnonymousViewerNotAllowed):
        granted(POLICY, singleUse=True)
    assert granted(POLICY, viewerId="v")
    assert granted(POLICY, subject="s")
    assert granted(CallerPolicy(channels=("*",), allow_anonymous_viewers=True))


@pytest.mark.parametrize(("policy", "deployment", "ceiling"), [(None, 3600, 3600), (60, 3600, 60), (7200, 3600, 3600)])
def test_the_ceiling_is_the_smaller_of_the_deployments_and_the_callers(
    policy: int | None, deployment: int, ceiling: int
) -> None:
    snapshot = SNAPSHOT._replace(max_ttl_seconds=deployment)
    grant = granted(CallerPolicy(channels=("*",), max_ttl_seconds=policy, namespace="n"), snapshot, viewerId="v")
    assert grant == TokenLimits(ceiling, "n")
