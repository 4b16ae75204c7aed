"""What is asked against a viewer: to end its sessions, or to deny it tokens.

Rules of the file
- The models are the interface, as in `ask.py`: over HTTP and for the commands alike.
- Every bad field is reported at once, by the name the caller wrote, and no value is ever repeated.
- A viewer is named as in an ask for a token (`viewer.py`). No text may hold control characters (`printable.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema

from tokensvc.core import claims as c
from tokensvc.core.ask import Strict
from tokensvc.core.denial import LAST_SECOND
from tokensvc.core.instant import unix_seconds
from tokensvc.core.policy import ALL_CHANNELS
from tokensvc.core.printable import NO_CONTROLS_PATTERN, check_no_controls
from tokensvc.core.refusal import field_errors
from tokensvc.core.viewer import Subject, ViewerId
from tokensvc.errors import FieldError, InvalidRequest

CHANNELS_MAX = 50
REASON_MAX_CHARS = 200

_Asked = TypeVar("_Asked", bound="_AgainstViewer")


def _channel_or_all(text: str) -> str:
    return text if text == ALL_CHANNELS else c.check_channel_arn(text)


Channel = Annotated[str, AfterValidator(c.check_channel_arn)]
ChannelOrAll = Annotated[str, AfterValidator(_channel_or_all)]
_Reason = Annotated[
    str,
    Field(max_length=REASON_MAX_CHARS),
    AfterValidator(check_no_controls),
    WithJsonSchema({"type": "string", "maxLength": REASON_MAX_CHARS, "pattern": NO_CONTROLS_PATTERN}),
]
_Second = Annotated[
    int, BeforeValidator(unix_seconds), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
_DenySeconds = Annotated[int, Field(ge=0, le=LAST_SECOND)]


class _AgainstViewer(Strict):
    """A viewer of some channels."""

    channel_arn: Channel | None = Field(None, description="The channel. Not with channelArns")
    channel_arns: Annotated[list[Channel] | None, Field(min_length=1, max_length=CHANNELS_MAX)] = Field(
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


class RevocationAsk(_AgainstViewer):
    """End a viewer's sessions, and let it have no token until every worker has heard."""

    issued_before: _Second | None = Field(
        None, description="Only sessions of tokens issued before then; denies no new tokens. Not in the future"
    )
    deny_seconds: _DenySeconds | None = Field(
        None, description="How long it gets no token; without it until every worker has heard. 0: not at all"
    )
    reason: _Reason = Field("", description="For whoever reads the list; no personal data")


class DenialAsk(_AgainstViewer):
    """Let a viewer have no tokens for a while; its sessions go on."""

    channel_arn: ChannelOrAll | None = Field(
        None, description="The channel, or * for all, which needs the caller's pattern *. Not with channelArns"
    )
    until: _Second | None = Field(None, description="When it ends. Not with denySeconds")
    deny_seconds: Annotated[int | None, Field(ge=1, le=LAST_SECOND)] = Field(
        None, description="How long it lasts. Not with until"
    )
    reason: _Reason = Field("", description="For whoever reads the list; no personal data")


_ONE_OF: dict[type[_AgainstViewer], tuple[tuple[str, str], ...]] = {
    RevocationAsk: (("channelArn", "channelArns"), ("viewerId", "subject")),
    DenialAsk: (("channelArn", "channelArns"), ("viewerId", "subject"), ("until", "denySeconds")),
}
"""Of each pair a caller gives exactly one."""


def read_revocation(fields: object) -> RevocationAsk:
    """Read one from decoded JSON. Raises InvalidRequest naming every bad field."""
    return _read(RevocationAsk, fields)


def read_denial(fields: object) -> DenialAsk:
    """Read one from decoded JSON. Raises InvalidRequest naming every bad field."""
    return _read(DenialAsk, fields)


def _read(model: type[_Asked], fields: object) -> _Asked:
    errors = _together(fields, _ONE_OF[model]) if isinstance(fields, dict) else []
    try:
        asked = model.model_validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid) + errors) from None
    if errors:
        raise InvalidRequest(errors)
    return asked


def _together(fields: dict[Any, Any], pairs: tuple[tuple[str, str], ...]) -> list[FieldError]:
    errors = []
    for one, other in pairs:
        given = [name for name in (one, other) if fields.get(name) is not None]
        if not given:
            errors.append(FieldError(one, "is required", alternative=other))
        elif len(given) == 2:
            errors.append(FieldError(other, "must be left out", excluded_by=one))
    return errors
