"""Requests about viewers: to revoke their sessions, to deny them tokens, and to list both.

Invariants
- The models are the interface, over HTTP and for the commands alike.
- Every bad field is reported at once, by the name the caller wrote, and no value is ever repeated.
- A viewer is named as in a token request (`tokens/viewer_ids.py`). No text may contain control characters
  (`printable.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema

from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import RequestModel
from tokensvc.pagination import PageQuery, PageTokens
from tokensvc.printable import NO_CONTROLS_PATTERN, check_no_controls
from tokensvc.revocations.model import RevocationState
from tokensvc.timestamps import unix_seconds
from tokensvc.tokens import claims as c
from tokensvc.tokens.denylist import MAX_SESSION_VERSION
from tokensvc.tokens.request import ChannelArn
from tokensvc.tokens.viewer_ids import Subject, ViewerId
from tokensvc.validation_errors import field_errors

CHANNELS_MAX = 50
BATCH_MAX = 1000
REASON_MAX_CHARS = 200

_Request = TypeVar("_Request", bound="_ViewerRequest")


def _channel_or_all(text: str) -> str:
    return text if text == ALL_CHANNELS else c.check_channel_arn(text)


ChannelArnOrAll = Annotated[str, AfterValidator(_channel_or_all)]
_Reason = Annotated[
    str,
    Field(max_length=REASON_MAX_CHARS),
    AfterValidator(check_no_controls),
    WithJsonSchema({"type": "string", "maxLength": REASON_MAX_CHARS, "pattern": NO_CONTROLS_PATTERN}),
]
_Second = Annotated[
    int, BeforeValidator(unix_seconds), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
_DenySeconds = Annotated[int, Field(ge=0, le=MAX_SESSION_VERSION)]


class _ViewerRequest(RequestModel):
    """A viewer of some channels."""

    channel_arn: ChannelArn | None = Field(None, description="The channel. Not with channelArns")
    channel_arns: Annotated[list[ChannelArn] | None, Field(min_length=1, max_length=CHANNELS_MAX)] = Field(
        None, description="Several channels"
    )
    viewer_id: ViewerId | None = Field(None, description="The viewer, as its tokens name it. Not with subject")
    subject: Subject | None = Field(
        None, description="The viewer, in your own words: every viewer id that it was ever given. Not with viewerId"
    )

    @property
    def channels(self) -> tuple[str, ...]:
        """All that it names."""
        return tuple(self.channel_arns or filter(None, [self.channel_arn]))


class RevocationRequest(_ViewerRequest):
    """End a viewer's sessions, and let it have no token until every worker has heard."""

    issued_before: _Second | None = Field(
        None, description="Only sessions of tokens issued before then; denies no new tokens. Not in the future"
    )
    deny_seconds: _DenySeconds | None = Field(
        None, description="How long it gets no token; without it until every worker has heard. 0: not at all"
    )
    reason: _Reason = Field("", description="For whoever reads the list; no personal data")


class DenialRequest(_ViewerRequest):
    """Let a viewer have no tokens for a while; its sessions go on."""

    channel_arn: ChannelArnOrAll | None = Field(
        None, description="The channel, or * for all, which needs the caller's pattern *. Not with channelArns"
    )
    until: _Second | None = Field(None, description="When it ends. Not with denySeconds")
    deny_seconds: Annotated[int | None, Field(ge=1, le=MAX_SESSION_VERSION)] = Field(
        None, description="How long it lasts. Not with until"
    )
    reason: _Reason = Field("", description="For whoever reads the list; no personal data")


class RevocationBatchRequest(RequestModel):
    """Several revocations at once."""

    revocations: list[RevocationRequest] = Field(min_length=1, max_length=BATCH_MAX)


_ONE_OF: dict[type[_ViewerRequest], tuple[tuple[str, str], ...]] = {
    RevocationRequest: (("channelArn", "channelArns"), ("viewerId", "subject")),
    DenialRequest: (("channelArn", "channelArns"), ("viewerId", "subject"), ("until", "denySeconds")),
}
"""Of each pair a caller gives exactly one."""


def read_revocation(fields: object) -> RevocationRequest:
    """Read one from decoded JSON. Raises InvalidRequest naming every bad field."""
    return _read(RevocationRequest, fields)


def read_denial(fields: object) -> DenialRequest:
    """Read one from decoded JSON. Raises InvalidRequest naming every bad field."""
    return _read(DenialRequest, fields)


def _read(model: type[_Request], fields: object) -> _Request:
    errors = _exclusive_field_errors(fields, _ONE_OF[model]) if isinstance(fields, dict) else []
    try:
        asked = model.model_validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid) + errors) from None
    if errors:
        raise InvalidRequest(errors)
    return asked


def _exclusive_field_errors(fields: dict[Any, Any], pairs: tuple[tuple[str, str], ...]) -> list[FieldError]:
    errors = []
    for one, other in pairs:
        given = [name for name in (one, other) if fields.get(name) is not None]
        if not given:
            errors.append(FieldError(one, "is required", alternative=other))
        elif len(given) == 2:
            errors.append(FieldError(other, "must be left out", excluded_by=one))
    return errors


class _ViewerQuery(PageQuery):
    """The parameters of both lists."""

    viewer_id: ViewerId | None = Field(None, description="Of this viewer. Not with subject")
    subject: Subject | None = Field(None, description="Of this viewer, in your own words. Not with viewerId")

    @classmethod
    def cross_field_errors(cls, given: Mapping[str, object]) -> list[FieldError]:
        """At most one of viewer id and subject is given."""
        if given.get("viewerId") is not None and given.get("subject") is not None:
            return [FieldError("subject", "must be left out", excluded_by="viewerId")]
        return []


class RevocationQuery(_ViewerQuery):
    """Which revocations are wanted: those with a target that matches."""

    page_tokens: ClassVar[PageTokens] = PageTokens("revocations", "([0-9]{1,18})")

    state: RevocationState | None = Field(None, description="In this state")
    channel_arn: ChannelArn | None = Field(None, description="Of this channel")


class DenialQuery(_ViewerQuery):
    """Which denials are wanted."""

    page_tokens: ClassVar[PageTokens] = PageTokens("denials", "([0-9]{1,18})-([0-9a-f]{32})")

    channel_arn: ChannelArnOrAll | None = Field(
        None, description="Of this channel, or * for those of all channels; needed to ask for a viewer"
    )

    @classmethod
    def cross_field_errors(cls, given: Mapping[str, object]) -> list[FieldError]:
        """A denial stores a digest of channel and viewer together, so a viewer is searched for by both."""
        errors = super().cross_field_errors(given)
        names_viewer = given.get("viewerId") is not None or given.get("subject") is not None
        if names_viewer and given.get("channelArn") is None:
            errors.append(FieldError("channelArn", "is required to ask for a viewer"))
        return errors
