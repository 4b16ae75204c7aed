"""Request models: revoke a viewer's sessions, deny a viewer tokens, list revocations and denials.

Invariants
- HTTP and the commands use the same models.
- All bad fields are reported together, by the names the caller used; no value is repeated in a message.
- A viewer is identified as in a token request (`tokens/viewer_ids.py`). No text may contain control characters
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
    """A viewer of one or more channels."""

    channel_arn: ChannelArn | None = Field(
        None,
        description="The channel: `arn:aws:ivs:REGION:ACCOUNT:channel/ID`, in an account and region where this "
        "deployment has, had, or is configured to have a key. Either this or `channelArns` is required",
    )
    channel_arns: Annotated[list[ChannelArn] | None, Field(min_length=1, max_length=CHANNELS_MAX)] = Field(
        None,
        description="Several channels, all of which must match the caller's patterns. Either this or `channelArn` is "
        "required",
    )
    viewer_id: ViewerId | None = Field(
        None, description="The viewer id in the viewer's tokens. Either this or `subject` is required"
    )
    subject: Subject | None = Field(
        None,
        description="The string that identified the viewer in token requests: it stands for every viewer id that was "
        "ever made from it. Either this or `viewerId` is required",
    )

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels of the request."""
        return tuple(self.channel_arns or filter(None, [self.channel_arn]))


class RevocationRequest(_ViewerRequest):
    """End a viewer's sessions, and deny it tokens until every worker is in sync."""

    issued_before: _Second | None = Field(
        None,
        description="End only the sessions of tokens that were issued before this time, by the clock of the issuing "
        "worker, and deny no new tokens. Not in the future. Precise to one second, or to five seconds within 20 "
        "minutes after a revocation without `issuedBefore`. Default: all tokens issued until now",
    )
    deny_seconds: _DenySeconds | None = Field(
        None,
        description="For how many seconds token requests for the viewer are rejected with `viewer_denied`. Default: "
        "until `readmitAfter`, when every worker is in sync; with `issuedBefore`, not at all. 0: not at all",
    )
    reason: _Reason = Field("", description="A note that lists show; no personal data, no control characters")


class DenialRequest(_ViewerRequest):
    """Block a viewer from getting tokens for a while; its sessions continue."""

    channel_arn: ChannelArnOrAll | None = Field(
        None,
        description="The channel, or `*` for all channels, which requires the pattern `*` in the caller's policy. "
        "Either this or `channelArns` is required",
    )
    until: _Second | None = Field(None, description="When the denial ends. Either this or `denySeconds` is required")
    deny_seconds: Annotated[int | None, Field(ge=1, le=MAX_SESSION_VERSION)] = Field(
        None, description="How many seconds the denial lasts. Either this or `until` is required"
    )
    reason: _Reason = Field("", description="A note that lists show; no personal data, no control characters")


class RevocationBatchRequest(RequestModel):
    """A batch of revocations."""

    revocations: list[RevocationRequest] = Field(
        min_length=1,
        max_length=BATCH_MAX,
        description="The revocations, each with the fields of `POST /v1/revocations`",
    )


_ONE_OF: dict[type[_ViewerRequest], tuple[tuple[str, str], ...]] = {
    RevocationRequest: (("channelArn", "channelArns"), ("viewerId", "subject")),
    DenialRequest: (("channelArn", "channelArns"), ("viewerId", "subject"), ("until", "denySeconds")),
}
"""A request must contain exactly one field of each pair."""


def read_revocation(fields: object) -> RevocationRequest:
    """Read a revocation request from decoded JSON. Raises InvalidRequest naming every bad field."""
    return _read(RevocationRequest, fields)


def read_denial(fields: object) -> DenialRequest:
    """Read a denial request from decoded JSON. Raises InvalidRequest naming every bad field."""
    return _read(DenialRequest, fields)


def _read(model: type[_Request], fields: object) -> _Request:
    errors = _exclusive_field_errors(fields, _ONE_OF[model]) if isinstance(fields, dict) else []
    try:
        request = model.model_validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid) + errors) from None
    if errors:
        raise InvalidRequest(errors)
    return request


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
    """The query parameters that both lists take."""

    viewer_id: ViewerId | None = Field(None, description="Only this viewer. Not with `subject`")
    subject: Subject | None = Field(
        None, description="Only this viewer, by the string that identified it in token requests. Not with `viewerId`"
    )

    @classmethod
    def cross_field_errors(cls, given: Mapping[str, object]) -> list[FieldError]:
        """At most one of viewerId and subject may be given."""
        if given.get("viewerId") is not None and given.get("subject") is not None:
            return [FieldError("subject", "must be left out", excluded_by="viewerId")]
        return []


class RevocationQuery(_ViewerQuery):
    """A filter for revocations: those with a matching target."""

    page_tokens: ClassVar[PageTokens] = PageTokens("revocations", "([0-9]{1,18})")

    state: RevocationState | None = Field(None, description="Only revocations in this state")
    channel_arn: ChannelArn | None = Field(None, description="Only revocations of this channel")


class DenialQuery(_ViewerQuery):
    """A filter for denials."""

    page_tokens: ClassVar[PageTokens] = PageTokens("denials", "([0-9]{1,18})-([0-9a-f]{32})")

    channel_arn: ChannelArnOrAll | None = Field(
        None,
        description="Only denials of this channel, or with `*` those of all channels. Required with `viewerId` or "
        "`subject`",
    )

    @classmethod
    def cross_field_errors(cls, given: Mapping[str, object]) -> list[FieldError]:
        """A denial stores a digest of channel and viewer together, so a viewer is searched for by both."""
        errors = super().cross_field_errors(given)
        names_viewer = given.get("viewerId") is not None or given.get("subject") is not None
        if names_viewer and given.get("channelArn") is None:
            errors.append(FieldError("channelArn", "is required to search for a viewer"))
        return errors
