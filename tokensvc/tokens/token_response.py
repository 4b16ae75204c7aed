"""What is answered for a token: the channel's playback URL, the token and what the client should know of it."""

from __future__ import annotations

from typing import Any

from tokensvc.errors import ChannelNotFound, PlaybackUrlUnavailable
from tokensvc.timestamps import rfc3339
from tokensvc.tokens.issuer import UnsignedToken
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import KnownChannel
from tokensvc.tokens.validation import TOKEN_PARAMETER


def require_channel(request: TokenRequest, channel: KnownChannel | None) -> KnownChannel | None:
    """Return the channel of a token request; None while nothing is known of it. Raises ChannelNotFound when IVS has no
    such channel, and PlaybackUrlUnavailable when the request requires the URL of one that is not known yet."""
    if channel is None and request.require_playback_url:
        raise PlaybackUrlUnavailable("the playback URL of this channel is not known yet; retry")
    if channel is not None and channel.playback_url is None:
        raise ChannelNotFound("IVS has no such channel; a channel created just now is found within a minute")
    return channel


def token_response(unsigned: UnsignedToken, channel: KnownChannel | None, token: str) -> dict[str, Any]:
    """The members of the response; without `channel` there is no `playbackUrl`."""
    response: dict[str, Any] = {
        "token": token,
        "expiresAt": rfc3339(unsigned.exp),
        "refreshAfter": rfc3339(unsigned.refresh_after),
        "requiresOriginHeader": unsigned.requires_origin_header,
    }
    if channel is not None:
        response["playbackUrl"] = f"{channel.playback_url}?{TOKEN_PARAMETER}={token}"
    if unsigned.viewer_id is not None:
        response["viewerId"] = unsigned.viewer_id
        response["viewerSessionVersion"] = unsigned.viewer_session_version
    return response
