"""An ask: what a caller wants a token for.

Rules of the file
- The model is the interface: its fields are checked by the rules in `claims.py`, and the OpenAPI page is made from it.
- No raw claims: `exp`, the session version and the single-use UUID are the server's to set.
- Every bad field is reported at once, by the name the caller wrote; `_together` adds the rules that need two fields.
- No value is ever repeated in a message: a caller may have pasted a key into the wrong field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import RequestModel
from tokensvc.tokens import claims as c
from tokensvc.tokens.origins import check_origin
from tokensvc.tokens.viewer_ids import Subject, ViewerId
from tokensvc.validation_errors import field_errors

ORIGINS_MAX_ENTRIES = 100


class Ads(RequestModel):
    """How server-side ad insertion treats this viewer."""

    opt_out: bool | None = Field(None, description="true: the viewer gets no ads")
    player_params: Annotated[
        dict[str, str] | None,
        AfterValidator(lambda value: value and c.check_ads_player_params(value)),
        Field(description="Forwarded to MediaTailor as player_params.*; at most 1000 bytes, keys and values together"),
    ] = None
    playback_config_name: Annotated[
        str | None, Field(min_length=1, description="One of the channel's ad configurations")
    ] = None
    reporting_mode: Literal["CLIENT", "SERVER"] | None = Field(None, description="Who reports ad tracking events")


ChannelArn = Annotated[str, AfterValidator(lru_cache(maxsize=8192)(c.check_channel_arn))]
"""A channel in a request. The check is remembered as a whole, so that pydantic calls no function of Python for a
channel that was asked for before."""


class TokenRequest(RequestModel):
    """One token, for one viewer of one channel."""

    channel_arn: Annotated[ChannelArn, Field(description="The private channel to be played")]
    viewer_id: ViewerId | None = Field(
        None, description="Who watches, as IVS will know them; no personal data. Needed to revoke. Not with subject"
    )
    subject: Subject | None = Field(
        None, description="Who watches, in your own words; a keyed hash of it becomes the viewer id. Not with viewerId"
    )
    ttl_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            description="How long playback may be started; without it, the smaller of 300 and the policy's limit. More "
            "than the policy's limit is refused. With viewerId, subject or singleUse at most 600, of which 591 to 600 "
            "become 590, as expiresAt says: IVS refuses more than ten minutes by its own clock",
        ),
    ] = None
    allowed_origins: Annotated[
        list[Annotated[str, AfterValidator(check_origin)]] | None,
        Field(
            min_length=1,
            max_length=ORIGINS_MAX_ENTRIES,
            description="Web origins that may play; the host may begin with *. At most 5 with strictOriginEnforcement",
        ),
    ] = None
    strict_origin_enforcement: bool = Field(
        False, description="The edge refuses every request without an allowed Origin"
    )
    single_use: bool = Field(False, description="The token starts playback once")
    maximum_resolution: Literal["SD", "HD", "FULL_HD"] | None = Field(None, description="The best rendition offered")
    ads: Ads | None = None
    require_playback_url: bool = Field(
        False,
        description="true: while the channel's playback URL is not known, the answer is 503 playback_url_unavailable "
        "with Retry-After, and no token without playbackUrl",
    )


_validate = TokenRequest.__pydantic_validator__.validate_python
"""`TokenRequest.model_validate` without its detour; asks are read on the hot path."""


def parse_token_request(fields: object) -> TokenRequest:
    """Read an ask from decoded JSON. Raises InvalidRequest naming every bad field."""
    try:
        ask: TokenRequest = _validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid) + _together_unread(fields)) from None
    if ask.subject is None and ask.ttl_seconds is None and ask.allowed_origins is None:
        return ask  # most asks: no two of their fields concern each other
    if errors := _together(
        ask.viewer_id, ask.subject, ask.single_use, ask.ttl_seconds, ask.strict_origin_enforcement, ask.allowed_origins
    ):
        raise InvalidRequest(errors)
    return ask


def _together(
    viewer_id: object, subject: object, single_use: object, ttl_seconds: object, strict: object, origins: object
) -> list[FieldError]:
    """The rules that need two fields. Values of the wrong type break other rules and none of these."""
    errors = []
    if viewer_id is not None and subject is not None:
        errors.append(FieldError("subject", "must be left out", excluded_by="viewerId"))
    ties_viewer = viewer_id is not None or subject is not None or single_use is True
    if ties_viewer and isinstance(ttl_seconds, int) and ttl_seconds > c.TEN_MINUTES_SECONDS:
        rule = f"must be at most {c.TEN_MINUTES_SECONDS} with a viewer id, a subject or a single use"
        errors.append(FieldError("ttlSeconds", rule))
    if isinstance(origins, list):
        try:
            c.check_strict_origins(strict is True, len(origins))
        except ValueError as rule:
            errors.append(FieldError("allowedOrigins", str(rule)))
    return errors


def _together_unread(fields: object) -> list[FieldError]:
    if not isinstance(fields, dict):
        return []
    names = ("viewerId", "subject", "singleUse", "ttlSeconds", "strictOriginEnforcement", "allowedOrigins")
    return _together(*(fields.get(name) for name in names))
