"""Kind of caller x scope x policy x request -> limits, or the exact refusal: one table.

A cell is what `authorize` makes of the request in the column under the policy in the row:

    3600    it is authorized, and the token may live this many seconds
    V       anonymous_viewer_not_allowed
    C       channel_not_allowed
    !ot     claim_required, naming these fields: o allowedOrigins, e entries of it, t strictOriginEnforcement,
            u singleUse, r maximumResolution
    ?T      invalid_request, naming these fields: also v viewerId, s subject, T ttlSeconds

Without the scope, each cell is insufficient_scope.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tokensvc.callers.policy import SCOPES, Caller, CallerPolicy, ClaimRules, ViewerLogin
from tokensvc.errors import ClaimRequired, InsufficientScope, InvalidRequest, TokensvcError
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.request import TokenRequest, parse_token_request
from tokensvc.tokens.snapshot import Snapshot

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"
OTHER = ARN.replace("abc", "other")
A, SUB, SIX = ["https://a.example"], ["https://x.b.example"], [f"https://{n}.a.example" for n in "abcdef"]
ALL = {
    "allowedOrigins": A,
    "strictOriginEnforcement": True,
    "singleUse": True,
    "maximumResolution": "SD",
    "subject": "alice",
}
REQUESTS: dict[str, dict[str, Any]] = {
    "anon": {},
    "viewer": {"viewerId": "alice"},
    "alice": {"subject": "alice"},
    "bob": {"subject": "bob"},
    "other": {"subject": "alice", "channelArn": OTHER},
    "a": {"subject": "alice", "allowedOrigins": A},
    "sub": {"subject": "alice", "allowedOrigins": SUB},
    "any": {"subject": "alice", "allowedOrigins": ["*"]},
    "six": {"subject": "alice", "allowedOrigins": SIX},
    "strict": {"subject": "alice", "strictOriginEnforcement": True},
    "once": {"subject": "alice", "singleUse": True},
    "HD": {"subject": "alice", "maximumResolution": "HD"},
    "FULL": {"subject": "alice", "maximumResolution": "FULL_HD"},
    "all": ALL,
    "hour": {"ttlSeconds": 3600},
}
ORIGINS = ("https://a.example", "https://*.b.example")
EVERY_RULE = ClaimRules(ORIGINS, True, True, "HD")
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "anonymous": {"allow_anonymous_viewers": True},
    "a_minute": {"max_ttl_seconds": 60},
    "a_day": {"max_ttl_seconds": 86_400},
    "one_channel": {"channels": (ARN,)},
    "no_channel": {"channels": ()},
    "require_origins": {"required": ClaimRules(ORIGINS)},
    "require_strict": {"required": ClaimRules(strict_origin_enforcement=True)},
    "require_once": {"required": ClaimRules(single_use=True)},
    "require_HD": {"required": ClaimRules(maximum_resolution="HD")},
    "require_all": {"required": EVERY_RULE},
    "force_origins": {"forced": ClaimRules(ORIGINS)},
    "force_strict": {"forced": ClaimRules(strict_origin_enforcement=True)},
    "force_once": {"forced": ClaimRules(single_use=True)},
    "force_HD": {"forced": ClaimRules(maximum_resolution="HD")},
    "force_all": {"forced": EVERY_RULE},
    "anonymous_once": {"allow_anonymous_viewers": True, "forced": ClaimRules(single_use=True)},
    # force+require: what is forced counts as requested.
    "once+origins": {"forced": ClaimRules(single_use=True), "required": ClaimRules(ORIGINS)},
    "origins+strict": {"forced": ClaimRules(ORIGINS), "required": ClaimRules(strict_origin_enforcement=True)},
    "strict+origins": {"forced": ClaimRules(strict_origin_enforcement=True), "required": ClaimRules(ORIGINS)},
    "HD+once": {"forced": ClaimRules(maximum_resolution="HD"), "required": ClaimRules(single_use=True)},
    "once+once": {"forced": ClaimRules(single_use=True), "required": ClaimRules(single_use=True)},
}
BACKEND = """
policy          anon  viewer alice bob   other a    sub  any   six   strict once HD   FULL  all  hour
plain           V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 V
anonymous       3600  3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 3600
a_minute        V     60     60    60    60    60   60   60    60    60     60   60   60    60   V
a_day           V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 V
one_channel     V     3600   3600  3600  C     3600 3600 3600  3600  3600   3600 3600 3600  3600 V
no_channel      C     C      C     C     C     C    C    C     C     C      C    C    C     C    C
require_origins !o    !o     !o    !o    !o    3600 3600 !e    !e    !o     !o   !o   !o    3600 !o
require_strict  !t    !t     !t    !t    !t    !t   !t   !t    !t    3600   !t   !t   !t    3600 !t
require_once    !u    !u     !u    !u    !u    !u   !u   !u    !u    !u     3600 !u   !u    3600 !u
require_HD      !r    !r     !r    !r    !r    !r   !r   !r    !r    !r     !r   3600 !r    3600 !r
require_all     !otur !otur  !otur !otur !otur !tur !tur !etur !etur !our   !otr !otu !otur 3600 !otur
force_origins   V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 V
force_strict    V     3600   3600  3600  3600  3600 3600 3600  ?o    3600   3600 3600 3600  3600 V
force_once      V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
force_HD        V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 V
force_all       V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
anonymous_once  3600  3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
once+origins    !o    !o     !o    !o    !o    3600 3600 !e    !e    !o     !o   !o   !o    3600 !To
origins+strict  !t    !t     !t    !t    !t    !t   !t   !t    !t    3600   !t   !t   !t    3600 !t
strict+origins  !o    !o     !o    !o    !o    3600 3600 !e    !oe   !o     !o   !o   !o    3600 !o
HD+once         !u    !u     !u    !u    !u    !u   !u   !u    !u    !u     3600 !u   !u    3600 !u
once+once       V     3600   3600  3600  3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
"""
VIEWER_APP = """
policy          anon  viewer alice bob    other a    sub  any   six   strict once HD   FULL  all  hour
plain           3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
anonymous       3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
a_minute        60    ?v     60    ?s     60    60   60   60    60    60     60   60   60    60   ?T
a_day           3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
one_channel     3600  ?v     3600  ?s     C     3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
no_channel      C     C      C     C      C     C    C    C     C     C      C    C    C     C    C
require_origins !o    !vo    !o    !so    !o    3600 3600 !e    !e    !o     !o   !o   !o    3600 !To
require_strict  !t    !vt    !t    !st    !t    !t   !t   !t    !t    3600   !t   !t   !t    3600 !Tt
require_once    !u    !vu    !u    !su    !u    !u   !u   !u    !u    !u     3600 !u   !u    3600 !Tu
require_HD      !r    !vr    !r    !sr    !r    !r   !r   !r    !r    !r     !r   3600 !r    3600 !Tr
require_all     !otur !votur !otur !sotur !otur !tur !tur !etur !etur !our   !otr !otu !otur 3600 !Totur
force_origins   3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
force_strict    3600  ?v     3600  ?s     3600  3600 3600 3600  ?o    3600   3600 3600 3600  3600 ?T
force_once      3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
force_HD        3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
force_all       3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
anonymous_once  3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
once+origins    !o    !vo    !o    !so    !o    3600 3600 !e    !e    !o     !o   !o   !o    3600 !To
origins+strict  !t    !vt    !t    !st    !t    !t   !t   !t    !t    3600   !t   !t   !t    3600 !Tt
strict+origins  !o    !vo    !o    !so    !o    3600 3600 !e    !oe   !o     !o   !o   !o    3600 !To
HD+once         !u    !vu    !u    !su    !u    !u   !u   !u    !u    !u     3600 !u   !u    3600 !Tu
once+once       3600  ?v     3600  ?s     3600  3600 3600 3600  3600  3600   3600 3600 3600  3600 ?T
"""
LETTERS = {
    "allowedOrigins": "o",
    "strictOriginEnforcement": "t",
    "singleUse": "u",
    "maximumResolution": "r",
    "viewerId": "v",
    "subject": "s",
    "ttlSeconds": "T",
}


def table(kind: str, text: str) -> list[tuple[str, str, str, str]]:
    """The rows of a table as kind, policy, request and cell."""
    header, *rows = [line.split() for line in text.strip().splitlines()]
    assert header[1:] == list(REQUESTS)
    assert [row[0] for row in rows] == list(POLICIES)
    return [(kind, row[0], request, cell) for row in rows for request, cell in zip(header[1:], row[1:], strict=True)]


def caller_of(kind: str, policy: str, scopes: frozenset[str] = frozenset({"tokens:issue"})) -> Caller:
    members: dict[str, Any] = {"channels": ("*",)} | POLICIES[policy]
    login = ViewerLogin("alice") if kind == "viewer app" else None
    return Caller("shop", CallerPolicy(**members, scopes=scopes, namespace=policy), login=login)


def request_of(name: str) -> TokenRequest:
    return parse_token_request({"channelArn": ARN} | REQUESTS[name])


def outcome(caller: Caller, request: TokenRequest) -> str:
    """The cell for this request."""
    try:
        caller.require_scope("tokens:issue")
        authorized = authorize(caller, request, Snapshot(max_ttl_seconds=3600))
    except InvalidRequest as error:
        named = dict.fromkeys("e" if "[" in e.field else LETTERS[e.field] for e in error.errors)
        return ("!" if isinstance(error, ClaimRequired) else "?") + "".join(named)
    except TokensvcError as error:
        short = {"anonymous_viewer_not_allowed": "V", "channel_not_allowed": "C"}
        return short.get(error.code, error.code)
    assert authorized.limits.namespace == caller.policy.namespace
    return str(authorized.limits.max_ttl_seconds)


CELLS = table("backend", BACKEND) + table("viewer app", VIEWER_APP)
AUTHORIZED = [(kind, policy, request_name) for kind, policy, request_name, cell in CELLS if cell.isdigit()]


@pytest.mark.parametrize(("kind", "policy", "request_name", "expected"), CELLS)
def test_a_request_is_authorized_or_refused_as_the_table_says(
    kind: str, policy: str, request_name: str, expected: str
) -> None:
    caller, request = caller_of(kind, policy), request_of(request_name)
    assert outcome(caller, request) == expected
    without_scope = caller_of(kind, policy, frozenset({"tokens:explain"}))
    assert outcome(without_scope, request) == "insufficient_scope"


@pytest.mark.parametrize(("kind", "policy", "request_name"), AUTHORIZED)
def test_an_authorized_token_has_what_policy_demands(kind: str, policy: str, request_name: str) -> None:
    caller, request = caller_of(kind, policy), request_of(request_name)
    got = authorize(caller, request, Snapshot(max_ttl_seconds=3600)).request
    forced, required = caller.policy.forced, caller.policy.required
    assert got.allowed_origins == (list(forced.allowed_origins) or request.allowed_origins)
    assert got.strict_origin_enforcement == (forced.strict_origin_enforcement or request.strict_origin_enforcement)
    assert got.single_use == (forced.single_use or request.single_use)
    assert got.maximum_resolution == (forced.maximum_resolution or request.maximum_resolution)
    assert not required.allowed_origins or set(got.allowed_origins or ["*"]) & {"*"} == set()
    assert got.strict_origin_enforcement >= required.strict_origin_enforcement
    assert got.single_use >= required.single_use
    assert required.maximum_resolution is None or got.maximum_resolution in ("SD", "HD")
    if kind == "viewer app":
        assert (got.subject, got.viewer_id) == ("alice", None)
    unruled = ("channel_arn", "ttl_seconds", "ads", "require_playback_url")
    assert [getattr(got, name) for name in unruled] == [getattr(request, name) for name in unruled]


@pytest.mark.parametrize(("kind", "granted", "needed"), list(product(("backend", "viewer app"), SCOPES, SCOPES)))
def test_a_scope_grants_itself_and_no_other(kind: str, granted: str, needed: str) -> None:
    caller = caller_of(kind, "plain", frozenset({granted}))
    if granted == needed:
        caller.require_scope(needed)
        return
    with pytest.raises(InsufficientScope) as refused:
        caller.require_scope(needed)
    assert refused.value.subject == {"scope": needed}


@pytest.mark.parametrize(
    ("granted", "expected"), [(frozenset({ARN}), {ARN: True, OTHER: False}), (frozenset(), {ARN: False, OTHER: False})]
)
def test_the_channels_of_a_login_narrow_those_of_the_policy(granted: frozenset[str], expected: dict[str, bool]) -> None:
    for policy, arn in product(("plain", "one_channel", "no_channel"), (ARN, OTHER)):
        caller = caller_of("viewer app", policy)._replace(login=ViewerLogin("alice", granted))
        allowed = expected[arn] and policy != "no_channel"
        assert caller.allows_channel(arn) == allowed
