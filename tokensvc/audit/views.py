"""Audit records for HTTP, the commands and the stream, and the query by which they are searched.

Invariants
- A record looks the same everywhere: in the API, with `--json`, and as a line of the stream.
- A query names the viewer by viewer id or subject; only its digest reaches the store.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from tokensvc.audit.record import ActorKind, AuditRecord, Outcome
from tokensvc.json_models import Timestamp, ViewModel
from tokensvc.pagination import PageQuery, PageTokens
from tokensvc.printable import NO_CONTROLS_PATTERN, check_no_controls
from tokensvc.timestamps import rfc3339_of, unix_seconds

_MAX_CHARS = 256
_Text = Annotated[
    str,
    Field(min_length=1, max_length=_MAX_CHARS),
    AfterValidator(check_no_controls),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _MAX_CHARS, "pattern": NO_CONTROLS_PATTERN}),
]
_Second = Annotated[
    int, BeforeValidator(unix_seconds), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]


class AuditQuery(PageQuery):
    """A filter for audit records: those that match every given parameter."""

    page_tokens: ClassVar[PageTokens] = PageTokens("audit", "([0-9]{1,18})")

    actor: _Text | None = Field(None, description="Only what this caller, or this user of the command line, did")
    action: _Text | None = Field(
        None, description="Only this action, such as `denials.add`, or all of a subject, such as `denials`"
    )
    outcome: Outcome | None = Field(None, description="Only what was `done`, or only what was `refused`")
    target: _Text | None = Field(
        None, description="Only what was done to this caller, key, channel, revocation or denial, by name, ARN or id"
    )
    viewer_id: _Text | None = Field(
        None,
        description="Only what concerns this viewer, by the viewer id or the subject that the request had. The service "
        "searches for its digest",
    )
    since: _Second | None = Field(None, description="Only records from this time on")
    until: _Second | None = Field(None, description="Only records before this time")


class ActorView(ViewModel):
    """Who acted."""

    kind: ActorKind = Field(
        description="`caller`: a caller of the HTTP API; `operator`: a user of the operating system who ran a command; "
        "`system`: the service by itself"
    )
    name: str = Field(description="The name of the caller, user or task")
    key_id: str | None = Field(description="The public id of the caller's API key; null if none was presented")


class AuditRecordView(ViewModel):
    """An administrative act, a refusal or an issued token."""

    number: int = Field(description="Records become visible in the order of their numbers")
    at: Timestamp = Field(description="When, by the store's clock")
    actor: ActorView = Field(description="Who acted")
    action: str = Field(description="What was done or asked for, such as `revocations.accept`")
    target: str | None = Field(description="What it was done to: the name, ARN or id of it")
    outcome: Outcome = Field(description="`done` or `refused`")
    code: str | None = Field(description="For a refusal, the code of the error")
    rule: str | None = Field(description="For a refusal, the rule of the policy that decided, if it was one")
    request_id: str | None = Field(description="The `X-Request-Id` of the request")
    viewer: str | None = Field(
        description="A keyed digest of the viewer id or subject that the request had; `viewerId` searches for it"
    )
    occurrences: int = Field(description="How many equal events the record stands for")
    details: dict[str, str] = Field(description="More about it, depending on the action")

    @classmethod
    def of(cls, record: AuditRecord) -> AuditRecordView:
        return cls.model_validate(record_json(record))


def record_json(record: AuditRecord) -> dict[str, Any]:
    """The record as in JSON, without the cost of a model: a stream writes one for each token."""
    event = record.event
    return {
        "number": record.number,
        "at": rfc3339_of(record.at),
        "actor": {"kind": event.actor.kind, "name": event.actor.name, "keyId": event.actor.key_id or None},
        "action": event.action,
        "target": event.target or None,
        "outcome": event.outcome,
        "code": event.code or None,
        "rule": event.rule or None,
        "requestId": event.request_id or None,
        "viewer": event.viewer or None,
        "occurrences": event.occurrences,
        "details": dict(event.details),
    }


class AuditPage(ViewModel):
    """One page of records, newest first."""

    records: list[AuditRecordView] = Field(description="The records of this page, newest first")
    next_token: str | None = Field(description="The `nextToken` of the next page; null if this is the last one")
