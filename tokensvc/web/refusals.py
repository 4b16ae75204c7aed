"""Turns the failures of authenticated callers into audit records.

Invariants
- A refusal is recorded only if the caller is known: its API key was presented whole, even if it has expired or the
  caller is disabled. Anonymous failures are in metrics and the request log only.
- Recording never fails a request and never waits.
- The record of a token request has its channel and viewer if it was parsed, be the refusal policy's, a limit's, a
  denial's or the policy hook's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from starlette.types import Scope

from tokensvc.audit.record import Actor, ActorKind, AuditEvent, Outcome
from tokensvc.errors import (
    ClaimRequired,
    InvalidRequest,
    RateLimited,
    TokensvcError,
    Unauthenticated,
)
from tokensvc.http.error_codes import ERROR_CODES
from tokensvc.web.context import RequestContext

_RECORDED_STATUSES = frozenset({403, 429})
_VERBS = {"POST": {"tokens": "issue", "revocations": "accept", "denials": "add"}, "DELETE": {"denials": "remove"}}
_LAST_SEGMENT_VERBS = frozenset({"explain", "retry", "cancel", "compromise", "rotate"})


class RecordRefusal(Protocol):
    """Records a failed request, if its caller is known and the failure is a refusal. Returns immediately."""

    def __call__(self, error: TokensvcError, scope: Scope, context: RequestContext) -> None: ...


class _Known(NamedTuple):
    caller: str
    key_id: str
    rule: str


class Refusals:
    """Records refusals by way of `record`, which only queues them."""

    def __init__(self, record: Callable[[AuditEvent, str], None]) -> None:
        """`record` gets the viewer apart, to digest it; "" if there is none."""
        self._record = record

    def __call__(self, error: TokensvcError, scope: Scope, context: RequestContext) -> None:
        known = _who(error, context)
        if known is None:
            return
        refused = context.refused
        self._record(
            AuditEvent(
                actor=Actor(ActorKind.CALLER, known.caller, known.key_id),
                action=action_of(scope["method"], scope["path"]),
                target="" if refused is None else refused.channel_arn,
                outcome=Outcome.REFUSED,
                code=error.code,
                rule=known.rule,
                request_id=context.request_id,
            ),
            "" if refused is None else refused.viewer,
        )


def _who(error: TokensvcError, context: RequestContext) -> _Known | None:
    if isinstance(error, Unauthenticated):
        proven = error.caller and error.key_id  # an API key; bearer tokens have no id
        return _Known(error.caller, error.key_id, str(error.reason)) if proven else None
    described = ERROR_CODES.get(error.code)
    is_refusal = described is not None and described.status in _RECORDED_STATUSES
    is_refused_by_policy = isinstance(error, ClaimRequired) or (isinstance(error, InvalidRequest) and error.by_policy)
    if not context.caller or not (is_refusal or is_refused_by_policy):
        return None
    return _Known(context.caller, context.key_id, _rule_of(error))


def action_of(method: str, path: str) -> str:
    """The action that a request asked for, such as `tokens.issue`, or `keys.read` for every GET."""
    segments = path.strip("/").split("/")
    subject = segments[1] if len(segments) > 1 else "status"
    if method in ("GET", "HEAD"):
        return f"{subject}.read"
    if segments[-1] in _LAST_SEGMENT_VERBS:
        return f"{subject}.{segments[-1]}"
    return f"{subject}.{_VERBS.get(method, {}).get(subject, 'request')}"


def _rule_of(error: TokensvcError) -> str:
    """The rule of the policy that decided."""
    if isinstance(error, RateLimited):
        return f"limit {error.limit}, {error.policy}"
    if isinstance(error, InvalidRequest):
        return ", ".join(found.field for found in error.errors)
    scope = error.subject.get("scope", "")
    return f"scope {scope}" if scope else ""
