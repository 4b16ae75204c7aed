"""The request bodies of the watch page's actions. Every invalid field is reported."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.json_models import RequestModel
from tokensvc.local_ivs.http.management_requests import ChannelArn
from tokensvc.tokens import claims

TOKEN_MAX_CHARS = 8192
"""More than IVS accepts, so that the page can show what happens to a token that is too large."""
ORIGIN_MAX_CHARS = 1024
NAME_PATTERN = "^[a-zA-Z0-9-_]+$"
"""IVS API reference, ChannelName; there it may also be empty."""


class CreateChannelRequest(RequestModel):
    """The channel to create."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=128)]
    authorized: bool = True
    ads: bool = False
    """Whether it gets an ad configuration, which ad breaks need."""


class ChannelRequest(RequestModel):
    """A request about a channel."""

    channel_arn: ChannelArn

    @property
    def channel(self) -> Arn:
        return parse_arn(self.channel_arn, "channel")


class StreamRequest(ChannelRequest):
    """Whether the channel is to be on air."""

    live: bool


class MetadataRequest(ChannelRequest):
    """Timed metadata for the stream; IVS's own limits apply."""

    metadata: str


class AdBreakRequest(ChannelRequest):
    """An ad break that starts now; IVS's own limits apply."""

    duration_seconds: int


class ExplanationRequest(ChannelRequest):
    """A token with which playback is about to start, and the Origin header that the player will send."""

    token: Annotated[str, Field(max_length=TOKEN_MAX_CHARS)]
    origin: Annotated[str, Field(max_length=ORIGIN_MAX_CHARS)]


class RevokeRequest(ChannelRequest):
    """The viewer whose sessions are to end."""

    viewer_id: Annotated[str, AfterValidator(claims.check_viewer_id)]
