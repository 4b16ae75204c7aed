"""Policy documents: what is written is read again, and every rule names the member that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.callers.policy import (
    BEARER_ALGORITHMS,
    SCOPES,
    VIEWER_APP_SCOPES,
    BearerPolicy,
    CallerPolicy,
    ClaimRules,
    Rate,
    RateLimits,
)
from tokensvc.callers.policy_document import document_of, parse_policy
from tokensvc.errors import InvalidRequest

_ORIGINS = st.lists(
    st.sampled_from(["*", "https://a.example", "https://*.b.example", "http://localhost:3000"]), unique=True
)
_RATES = st.none() | st.builds(Rate, st.integers(1, 10_000), st.integers(1, 10_000))
_CLAIM_NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
_BEARERS = st.builds(
    BearerPolicy,
    issuer=st.sampled_from(["https://login.example.com", "http://127.0.0.1:8080/realms/a"]),
    audience=_CLAIM_NAMES,
    algorithms=st.lists(st.sampled_from(BEARER_ALGORITHMS), min_size=1, unique=True).map(tuple),
    jwks_url=st.none() | st.just("https://login.example.com/keys"),
    leeway_seconds=st.integers(0, 30),
    viewer_claim=_CLAIM_NAMES,
    channels_claim=st.none() | _CLAIM_NAMES,
    required_claims=st.dictionaries(
        _CLAIM_NAMES,
        st.lists(st.booleans() | st.integers(-9, 9) | st.text(max_size=5), min_size=1, max_size=3).map(tuple),
        max_size=3,
    ).map(lambda claims: tuple(sorted(claims.items()))),
)


@st.composite
def policies(draw: st.DrawFn) -> CallerPolicy:
    """Any valid policy: each rule on a claim is in `required`, in `forced` or in neither."""
    rules: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    values = {
        "allowed_origins": _ORIGINS.map(tuple),
        "strict_origin_enforcement": st.just(True),
        "single_use": st.just(True),
        "maximum_resolution": st.sampled_from(["SD", "HD", "FULL_HD"]),
    }
    for name, value in values.items():
        where = draw(st.sampled_from([0, 1, None]))
        if where is not None:
            rules[where][name] = draw(value)
    bearer = draw(st.none() | _BEARERS)
    scopes = sorted(VIEWER_APP_SCOPES) if bearer is not None else SCOPES
    return CallerPolicy(
        channels=tuple(draw(st.lists(st.sampled_from(["*", "arn:aws:ivs:eu-west-1:1:channel/*"]), unique=True))),
        scopes=draw(st.frozensets(st.sampled_from(scopes))),
        max_ttl_seconds=draw(st.none() | st.integers(1, 31_536_000)),
        allow_anonymous_viewers=bearer is None and draw(st.booleans()),
        namespace=draw(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)),
        required=ClaimRules(**rules[0]),
        forced=ClaimRules(**rules[1]),
        limits=RateLimits(draw(_RATES), draw(_RATES), draw(_RATES)),
        bearer=bearer,
        cors_origins=tuple(draw(st.lists(st.sampled_from(["https://a.example", "https://b.example"]), unique=True))),
        audit_tokens=draw(st.booleans()),
    )


@pytest.mark.slow
@given(policies())
def test_a_document_is_read_as_the_policy_that_it_was_written_from(policy: CallerPolicy) -> None:
    assert parse_policy(document_of(policy)) == policy


def test_missing_members_mean_the_defaults() -> None:
    assert parse_policy({"channels": ["*"]}) == CallerPolicy(channels=("*",))


@pytest.mark.parametrize(("per_minute", "burst"), [(1, 10), (60, 10), (61, 11), (6000, 1000)])
def test_a_rate_without_a_burst_allows_ten_seconds_worth_and_at_least_ten(per_minute: int, burst: int) -> None:
    policy = parse_policy({"channels": ["*"], "limits": {"viewer": {"per_minute": per_minute}}})
    assert policy.limits.viewer == Rate(per_minute, burst)


_BEARER = {"issuer": "https://login.example.com", "audience": "player"}


@pytest.mark.parametrize(
    ("members", "field", "rule"),
    [
        ({"channels": ["everything"]}, "channels[0]", "must be * or a channel ARN"),
        ({"channels": "*"}, "channels", "must be a list"),
        ({"scopes": ["tokens:mint"]}, "scopes[0]", "must be one of tokens:issue"),
        ({"max_ttl_seconds": 0}, "max_ttl_seconds", "must be at least 1"),
        ({"max_ttl_seconds": 31_536_001}, "max_ttl_seconds", "must be at most 31536000"),
        ({"max_ttl_seconds": True}, "max_ttl_seconds", "must be an integer"),
        ({"allow_anonymous_viewers": "yes"}, "allow_anonymous_viewers", "must be true or false"),
        ({"namespace": ""}, "namespace", "must be 1 to 64 letters, digits, dots, underscores or dashes"),
        ({"only_on_weekdays": True}, "only_on_weekdays", ""),
        ({"require": {"allowed_origins": ["https://a/"]}}, "require.allowed_origins[0]", "without path"),
        ({"force": {"maximum_resolution": "8K"}}, "force.maximum_resolution", "must be"),
        ({"force": {"viewer": True}}, "force.viewer", ""),
        (
            {"require": {"single_use": True}, "force": {"single_use": True}},
            "require.single_use",
            "must be left out when force.single_use is given",
        ),
        (
            {
                "force": {
                    "strict_origin_enforcement": True,
                    "allowed_origins": [f"https://{n}.example" for n in "abcdef"],
                }
            },
            "force.allowed_origins",
            "must have at most 5 entries with strict_origin_enforcement",
        ),
        (
            {
                "require": {"strict_origin_enforcement": True},
                "force": {"allowed_origins": [f"https://{n}.example" for n in "abcdef"]},
            },
            "force.allowed_origins",
            "must have at most 5 entries with strict_origin_enforcement",
        ),
        ({"limits": {"viewer": {}}}, "limits.viewer.per_minute", "is required"),
        ({"limits": {"caller": {"per_minute": 0}}}, "limits.caller.per_minute", "must be at least 1"),
        ({"limits": {"channel": {"per_minute": 1, "burst": 0}}}, "limits.channel.burst", "must be at least 1"),
        ({"cors_origins": ["*"]}, "cors_origins[0]", "* would admit every page"),
        ({"bearer": {"audience": "player"}}, "bearer.issuer", "is required"),
        ({"bearer": _BEARER | {"issuer": "http://login.example.com"}}, "bearer.issuer", "must begin with https://"),
        ({"bearer": _BEARER | {"issuer": "https://a@login.example.com"}}, "bearer.issuer", "no user name"),
        ({"bearer": _BEARER | {"issuer": "login.example.com"}}, "bearer.issuer", "must be a URL"),
        ({"bearer": _BEARER | {"audience": ""}}, "bearer.audience", "must be 1 to 512 printable"),
        ({"bearer": _BEARER | {"algorithms": ["HS256"]}}, "bearer.algorithms[0]", "must be one of RS256"),
        ({"bearer": _BEARER | {"algorithms": ["none"]}}, "bearer.algorithms[0]", "must be one of RS256"),
        ({"bearer": _BEARER | {"algorithms": []}}, "bearer.algorithms", "must"),
        ({"bearer": _BEARER | {"jwks_url": "ftp://a"}}, "bearer.jwks_url", "must be a URL"),
        ({"bearer": _BEARER | {"leeway_seconds": 31}}, "bearer.leeway_seconds", "must be at most 30"),
        ({"bearer": _BEARER | {"viewer_claim": "a b"}}, "bearer.viewer_claim", "must be 1 to 128 printable"),
        ({"bearer": _BEARER | {"required_claims": {"plan": []}}}, "bearer.required_claims.plan", "must"),
        ({"bearer": _BEARER, "scopes": ["keys:admin"]}, "scopes", "must be among tokens:explain, tokens:issue"),
        (
            {"bearer": _BEARER, "allow_anonymous_viewers": True},
            "allow_anonymous_viewers",
            "must be left out when bearer is given",
        ),
    ],
)
def test_a_bad_member_is_named_with_its_rule(members: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as failed:
        parse_policy({"channels": ["*"]} | members)
    found = {error.field: error.message for error in failed.value.errors}
    assert rule in found[field]
    assert len(found) == 1


def test_all_bad_members_are_named_together() -> None:
    with pytest.raises(InvalidRequest) as failed:
        parse_policy({"scopes": ["x"], "namespace": "", "limits": {"viewer": {"per_minute": -1}}})
    named = [error.field for error in failed.value.errors]
    assert named == ["channels", "scopes[0]", "namespace", "limits.viewer.per_minute"]
