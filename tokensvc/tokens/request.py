"""A token request: what a caller wants a token for.

Invariants
- The model is the interface: the rules in `claims.py` check its fields, and the OpenAPI document is generated from it.
- No raw claims: only the server sets `exp`, the session version and the single-use UUID.
- All bad fields are reported together, under their names in the JSON; `combined_field_errors` adds the rules that
  concern two fields.
- No message repeats a value: a caller may have pasted a key into the wrong field.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import RequestModel
from tokensvc.origins import check_origin
from tokensvc.tokens import claims as c
from tokensvc.tokens.viewer_ids import Subject, ViewerId
from tokensvc.validation_errors import field_errors

ORIGINS_MAX_ENTRIES = 100
_set = object.__setattr__


class Ads(RequestModel):
    """Server-side ad insertion for this viewer."""

    opt_out: bool | None = Field(None, description="`true`: the viewer gets no ads")
    player_params: Annotated[
        dict[str, str] | None,
        AfterValidator(lambda value: value and c.check_ads_player_params(value)),
        Field(
            description="Forwarded to MediaTailor as `player_params.*`; at most 1000 bytes, keys and values together"
        ),
    ] = None
    playback_config_name: Annotated[
        str | None, Field(min_length=1, description="One of the channel's ad configurations")
    ] = None
    reporting_mode: Literal["CLIENT", "SERVER"] | None = Field(
        None, description="Which side reports ad tracking events"
    )


ChannelArn = Annotated[str, AfterValidator(lru_cache(maxsize=8192)(c.check_channel_arn))]
"""A channel in a request. The whole check is cached, so that pydantic calls no Python function for a channel that was
requested before."""


class TokenRequest(RequestModel):
    """A request for one token, for one viewer of one channel."""

    channel_arn: Annotated[
        ChannelArn,
        Field(description="The private channel to be played: `arn:aws:ivs:REGION:ACCOUNT:channel/ID`"),
    ]
    viewer_id: ViewerId | None = Field(
        None,
        description="The viewer's id in IVS; no control characters, no personal data. Only a token with a viewer can "
        "be revoked. Not with `subject`; one of the two is required unless the caller may issue tokens for anonymous "
        "viewers",
    )
    subject: Subject | None = Field(
        None,
        description="Instead of `viewerId`: any string that identifies the viewer to you. Its keyed hash becomes the "
        "viewer id, so no personal data leaves tokensvc and no two viewers share an id",
    )
    ttl_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            description="How long the token can start playback. Default: the smaller of 300 and the caller's limit. "
            "More than the limit is rejected. With `viewerId`, `subject` or `singleUse` at most 600, and 591 to 600 "
            "become 590: IVS rejects such a token if it expires more than ten minutes ahead by IVS's own clock, so ten "
            "seconds are left for the difference between the clocks",
        ),
    ] = None
    allowed_origins: Annotated[
        list[Annotated[str, AfterValidator(check_origin)]] | None,
        Field(
            min_length=1,
            max_length=ORIGINS_MAX_ENTRIES,
            description="Web origins that may play, as a browser sends them: `https://app.example.com`, "
            "`http://localhost:3000`, `https://*.example.com` for all subdomains, or `*`. `localhost` and `127.0.0.1` "
            "are different origins. At most 5 with `strictOriginEnforcement`. Default: any origin",
        ),
    ] = None
    strict_origin_enforcement: bool = Field(
        False,
        description="`true`: IVS rejects every request without an allowed `Origin` header, for playlists and segments",
    )
    single_use: bool = Field(
        False, description="`true`: the token can start playback once. A reload needs another token"
    )
    maximum_resolution: Literal["SD", "HD", "FULL_HD"] | None = Field(
        None, description="The highest rendition that the viewer is offered. Default: no limit"
    )
    ads: Ads | None = Field(None, description="Server-side ad insertion for this viewer")
    require_playback_url: bool = Field(
        False,
        description="`true`: while the channel's playback URL is unknown, the response is 503 "
        "`playback_url_unavailable` with `Retry-After`, instead of a token without `playbackUrl`",
    )

    def with_values(self, values: Mapping[str, Any]) -> TokenRequest:
        """A copy with these valid values, by the names of the fields. As `model_copy`, which costs twice as much."""
        copy = TokenRequest.__new__(TokenRequest)
        _set(copy, "__dict__", {**self.__dict__, **values})
        _set(copy, "__pydantic_fields_set__", self.__pydantic_fields_set__.union(values))
        _set(copy, "__pydantic_extra__", None)
        _set(copy, "__pydantic_private__", None)
        return copy


_validate = TokenRequest.__pydantic_validator__.validate_python
"""`TokenRequest.model_validate` without its overhead: token requests are parsed on the hot path."""


def parse_token_request(fields: object) -> TokenRequest:
    """Parse a token request from decoded JSON. Raises InvalidRequest naming every bad field."""
    try:
        request: TokenRequest = _validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid) + _combined_errors_of_raw(fields)) from None
    if request.subject is None and request.ttl_seconds is None and request.allowed_origins is None:
        return request  # most requests: no rule on two fields applies
    if errors := combined_field_errors(
        request.viewer_id,
        request.subject,
        request.single_use,
        request.ttl_seconds,
        request.strict_origin_enforcement,
        request.allowed_origins,
    ):
        raise InvalidRequest(errors)
    return request


def combined_field_errors(
    viewer_id: object, subject: object, single_use: object, ttl_seconds: object, strict: object, origins: object
) -> list[FieldError]:
    """Errors by the rules that concern two fields. Values of the wrong type break other rules and none of these."""
    errors = []
    if viewer_id is not None and subject is not None:
        errors.append(FieldError("subject", "must be left out", excluded_by="viewerId"))
    is_limited = has_ten_minute_limit(viewer_id, subject, single_use)
    if is_limited and isinstance(ttl_seconds, int) and ttl_seconds > c.TEN_MINUTES_SECONDS:
        rule = f"must be at most {c.TEN_MINUTES_SECONDS} with viewerId, subject or singleUse"
        errors.append(FieldError("ttlSeconds", rule))
    if isinstance(origins, list):
        try:
            c.check_strict_origins(strict is True, len(origins))
        except ValueError as rule:
            errors.append(FieldError("allowedOrigins", str(rule)))
    return errors


def has_ten_minute_limit(viewer_id: object, subject: object, single_use: object) -> bool:
    """Whether a token with these fields may expire ten minutes ahead at most: one for a viewer, or for a single use."""
    return viewer_id is not None or subject is not None or single_use is True


def _combined_errors_of_raw(fields: object) -> list[FieldError]:
    if not isinstance(fields, dict):
        return []
    names = ("viewerId", "subject", "singleUse", "ttlSeconds", "strictOriginEnforcement", "allowedOrigins")
    return combined_field_errors(*(fields.get(name) for name in names))
