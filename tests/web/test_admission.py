"""What a decision from outside does to a request: it narrows what policy granted, and never widens it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL
from tokensvc.callers.limits import rate_limited_error
from tokensvc.callers.policy import Caller, CallerPolicy, Rate, Resolution
from tokensvc.errors import PolicyHookDenied, PolicyHookUnavailable, RateLimited, TokensvcError
from tokensvc.origins import covers
from tokensvc.tokens.authorization import AuthorizedRequest, authorize
from tokensvc.tokens.claims import MAXIMUM_RESOLUTIONS
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.admission import ADMITTED, AdmissionRequest, BothAdmissions, Decision, Narrowing, narrowed

CALLER = Caller("shop", CallerPolicy(channels=("*",)))
APP, SHOP, ALL = "https://app.example.com", "https://shop.example.com", "https://*.example.com"


def authorized(**fields: Any) -> AuthorizedRequest:
    request = parse_token_request({"channelArn": str(CHANNEL), "viewerId": "v", **fields})
    return authorize(CALLER, request, Snapshot(max_ttl_seconds=600))


def test_a_decision_without_restrictions_changes_nothing() -> None:
    granted = authorized(ttlSeconds=60, allowedOrigins=[APP])
    assert narrowed(granted, ADMITTED) == granted


def test_an_error_refuses() -> None:
    with pytest.raises(PolicyHookDenied):
        narrowed(authorized(), PolicyHookDenied("denied"))


@pytest.mark.parametrize(
    ("requested", "restriction", "expected"), [(60, 30, 30), (60, 90, 60), (None, 30, None), (60, 60, 60)]
)
def test_a_lifetime_is_never_longer_than_either_allows(
    requested: int | None, restriction: int, expected: int | None
) -> None:
    request, limits = narrowed(authorized(ttlSeconds=requested), Narrowing(restriction))
    assert request.ttl_seconds == expected
    assert limits.max_ttl_seconds == restriction


def test_a_longer_lifetime_than_policy_allows_is_not_granted() -> None:
    assert narrowed(authorized(), Narrowing(10_000)).limits.max_ttl_seconds == 600


@pytest.mark.parametrize(
    ("requested", "restriction", "expected"),
    [(None, "HD", "HD"), ("SD", "HD", "SD"), ("FULL_HD", "SD", "SD"), ("HD", "FULL_HD", "HD")],
)
def test_a_resolution_is_the_lower_one(requested: str | None, restriction: Any, expected: str) -> None:
    request, _ = narrowed(authorized(maximumResolution=requested), Narrowing(maximum_resolution=restriction))
    assert request.maximum_resolution == expected


@pytest.mark.parametrize(
    ("granted", "restriction"), [(None, (APP,)), ([APP, SHOP], (APP,)), ([ALL], (APP, SHOP)), (["*"], (ALL,))]
)
def test_origins_are_narrowed_to_those_of_the_decision(granted: list[str] | None, restriction: tuple[str, ...]) -> None:
    request, _ = narrowed(authorized(allowedOrigins=granted), Narrowing(allowed_origins=restriction))
    assert request.allowed_origins == list(restriction)


@pytest.mark.parametrize(
    ("granted", "restriction"), [([APP], (SHOP,)), ([APP], (APP, SHOP)), ([APP], (ALL,)), ([APP], ("*",))]
)
def test_wider_origins_are_not_a_decision(granted: list[str], restriction: tuple[str, ...]) -> None:
    with pytest.raises(PolicyHookUnavailable):
        narrowed(authorized(allowedOrigins=granted), Narrowing(allowed_origins=restriction))


def test_origins_that_ivs_would_not_accept_are_not_a_decision() -> None:
    """At most five with strict origin enforcement."""
    origins = tuple(f"https://app{number}.example.com" for number in range(6))
    with pytest.raises(PolicyHookUnavailable):
        narrowed(authorized(strictOriginEnforcement=True), Narrowing(allowed_origins=origins))


_ORIGINS = st.lists(st.sampled_from([APP, SHOP, ALL, "*"]), min_size=1, max_size=3)


@pytest.mark.slow
@given(
    requested=st.fixed_dictionaries(
        {},
        optional={
            "ttlSeconds": st.integers(1, 600),
            "maximumResolution": st.sampled_from(get_args(Resolution)),
            "allowedOrigins": _ORIGINS,
        },
    ),
    decision=st.builds(
        Narrowing,
        st.none() | st.integers(1, 10_000),
        st.none() | st.sampled_from(get_args(Resolution)),
        st.none() | _ORIGINS.map(tuple),
    ),
)
def test_no_decision_widens_what_was_granted(requested: dict[str, Any], decision: Narrowing) -> None:
    granted = authorized(**requested)
    try:
        request, limits = narrowed(granted, decision)
    except PolicyHookUnavailable:
        return
    assert limits.max_ttl_seconds <= granted.limits.max_ttl_seconds
    assert (request.ttl_seconds or 0) <= (granted.request.ttl_seconds or 0)
    highest = granted.request.maximum_resolution or MAXIMUM_RESOLUTIONS[-1]
    assert MAXIMUM_RESOLUTIONS.index(request.maximum_resolution or highest) <= MAXIMUM_RESOLUTIONS.index(highest)
    if granted.request.allowed_origins is not None:
        assert request.allowed_origins is not None
        assert all(any(covers(entry, o) for entry in granted.request.allowed_origins) for o in request.allowed_origins)


class Decides:
    """An admission that decides by the viewer."""

    def __init__(self, **decisions: Decision) -> None:
        self.decisions = decisions
        self.asked: list[str | None] = []
        self.closed = False

    async def admit(self, asked: Sequence[AdmissionRequest]) -> list[Decision]:
        self.asked += [token.request.viewer_id for token in asked]
        return [self.decisions.get(token.request.viewer_id or "", ADMITTED) for token in asked]

    async def close(self) -> None:
        self.closed = True


def test_of_two_the_second_is_asked_about_what_the_first_admits() -> None:
    limited: TokensvcError = rate_limited_error("viewer", Rate(1, 1), 3.0)
    first, second = Decides(b=limited), Decides(a=Narrowing(30), c=PolicyHookDenied("denied"))
    asked = [AdmissionRequest(CALLER, authorized(viewerId=viewer).request, 300, "", "r") for viewer in "abcd"]

    async def use() -> list[Decision]:
        both = BothAdmissions(first, second)
        decisions = await both.admit(asked)
        await both.close()
        return decisions

    a, b, c, d = asyncio.run(use())
    assert a == Narrowing(30)
    assert isinstance(b, RateLimited)
    assert isinstance(c, PolicyHookDenied)
    assert d == ADMITTED
    assert second.asked == ["a", "c", "d"]
    assert first.closed
    assert second.closed


def test_the_second_is_not_asked_when_the_first_refuses_everything() -> None:
    second = Decides()
    asked = [AdmissionRequest(CALLER, authorized().request, 300, "", "r")]
    asyncio.run(BothAdmissions(Decides(v=rate_limited_error("viewer", Rate(1, 1), 3.0)), second).admit(asked))
    assert second.asked == []
