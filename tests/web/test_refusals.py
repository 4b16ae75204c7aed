"""Failures of known callers become audit records; anonymous ones and failures other than refusals do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.asgi_client import scope_of
from tokensvc.audit.record import ActorKind, AuditEvent, Outcome
from tokensvc.callers.api_keys import KnownSecret, authenticate, key_digest
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import (
    ChannelNotAllowed,
    ClaimRequired,
    FieldError,
    InsufficientScope,
    InvalidRequest,
    RateLimited,
    StoreUnavailable,
    TokensvcError,
    Unauthenticated,
)
from tokensvc.web.context import RefusedToken, RequestContext
from tokensvc.web.refusals import Refusals, action_of

KEY = "tsk_a_secret"
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def recorded(error: TokensvcError, caller: str = "shop") -> list[AuditEvent]:
    return [event for event, _ in recorded_with_viewers(error, caller)]


def recorded_with_viewers(
    error: TokensvcError, caller: str = "shop", refused: RefusedToken | None = None
) -> list[tuple[AuditEvent, str]]:
    events: list[tuple[AuditEvent, str]] = []
    context = RequestContext("r-1", 0.0)
    context.caller, context.key_id, context.refused = caller, "a" if caller else "", refused
    Refusals(lambda event, viewer: events.append((event, viewer)))(error, scope_of("POST", "/v1/tokens"), context)
    return events


def rejection(key: str = KEY, *, disabled: bool = False) -> Unauthenticated:
    """The error of a request with this key, when KEY has expired."""
    known = KnownSecret(key_digest(KEY), PAST, Caller("shop", CallerPolicy(("*",))), disabled)
    with pytest.raises(Unauthenticated) as rejected:
        authenticate(f"Bearer {key}", {"a": known}, PAST.timestamp() + 1)
    return rejected.value


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (InsufficientScope("no", subject={"scope": "keys:read"}), "scope keys:read"),
        (ChannelNotAllowed("no"), ""),
        (ClaimRequired([FieldError("viewerId", "is required")]), "viewerId"),
        (InvalidRequest([FieldError("subject", "must be left out")], by_policy=True), "subject"),
        (RateLimited("no", limit="caller", policy="60;w=60", retry_after_seconds=1), "limit caller, 60;w=60"),
    ],
)
def test_a_refusal_of_a_known_caller_is_recorded(error: TokensvcError, rule: str) -> None:
    [event] = recorded(error)
    assert (event.actor.kind, event.actor.name, event.actor.key_id) == (ActorKind.CALLER, "shop", "a")
    assert (event.action, event.outcome, event.code) == ("tokens.issue", Outcome.REFUSED, error.code)
    assert (event.rule, event.request_id) == (rule, "r-1")


def test_a_refused_token_is_recorded_with_its_channel_and_the_viewer_apart() -> None:
    refused = RefusedToken("arn:aws:ivs:us-east-1:123456789012:channel/a", "ada")
    assert "ada" not in repr(refused)
    [(event, viewer)] = recorded_with_viewers(ChannelNotAllowed("no"), refused=refused)
    assert (event.target, event.viewer, viewer) == (refused.channel_arn, "", "ada")


def test_an_expired_key_and_one_of_a_disabled_caller_are_recorded_if_the_whole_key_is_right() -> None:
    assert [event.rule for event in recorded(rejection(), caller="")] == ["expired"]
    assert [event.rule for event in recorded(rejection(disabled=True), caller="")] == ["disabled"]
    assert recorded(rejection("tsk_a_guess"), caller="") == []
    assert recorded(rejection("tsk_b_secret"), caller="") == []


@pytest.mark.parametrize("error", [InvalidRequest([FieldError("x", "is bad")]), StoreUnavailable("no")])
def test_a_failure_other_than_a_refusal_is_not_recorded(error: TokensvcError) -> None:
    assert recorded(error) == []


def test_anonymous_refusals_are_not_recorded() -> None:
    assert recorded(RateLimited("no", limit="address", policy="x", retry_after_seconds=1), caller="") == []


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/v1/tokens", "tokens.issue"),
        ("POST", "/v1/tokens/batch", "tokens.issue"),
        ("POST", "/v1/tokens/explain", "tokens.explain"),
        ("POST", "/v1/revocations/batch", "revocations.accept"),
        ("POST", "/v1/revocations/r1/cancel", "revocations.cancel"),
        ("GET", "/v1/revocations/r1", "revocations.read"),
        ("DELETE", "/v1/denials/d1", "denials.remove"),
        ("POST", "/v1/keys/k1/compromise", "keys.compromise"),
        ("GET", "/v1/audit", "audit.read"),
    ],
)
def test_the_action_is_named_as_that_of_the_act(method: str, path: str, action: str) -> None:
    assert action_of(method, path) == action
