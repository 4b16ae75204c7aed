"""What a player may have: by its token on a private channel, by the restriction policy on a public one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge.restrictions import Restrictions
from tokensvc.local_ivs.session_store import SessionTerms
from tokensvc.origins import split_origins
from tokensvc.tokens import claims as c


class Grant(NamedTuple):
    """What a player is granted."""

    viewer_id: str | None = None
    session_version: int = c.DEFAULT_VIEWER_SESSION_VERSION
    maximum_resolution: str | None = None
    origins: tuple[str, ...] | None = None
    """The origins whose pages may play; None for all."""
    strict_origin: bool = False
    ads_opt_out: bool = False
    single_use_uuid: str | None = None

    def __repr__(self) -> str:
        """Without the viewer and the single use."""
        return f"Grant(maximum_resolution={self.maximum_resolution})"

    def terms(self, channel: Arn, stream_id: str, media_id: str) -> SessionTerms:
        """The terms of a session."""
        return SessionTerms(
            channel=channel,
            stream_id=stream_id,
            viewer_id=self.viewer_id,
            session_version=self.session_version,
            maximum_resolution=self.maximum_resolution,
            origins=self.origins,
            strict_origin=self.strict_origin,
            ads_opt_out=self.ads_opt_out,
            media_id=media_id,
        )


def grant_of_claims(claims: Mapping[str, Any]) -> Grant:
    """What the claims of a valid token grant."""
    allowed = claims.get(c.ALLOW_ORIGIN)
    return Grant(
        viewer_id=claims.get(c.VIEWER_ID),
        session_version=claims.get(c.VIEWER_SESSION_VERSION, c.DEFAULT_VIEWER_SESSION_VERSION),
        maximum_resolution=claims.get(c.MAXIMUM_RESOLUTION),
        origins=None if allowed is None else tuple(split_origins(allowed)),
        strict_origin=claims.get(c.STRICT_ORIGIN, False),
        ads_opt_out=claims.get(c.ADS_OPT_OUT, False),
        single_use_uuid=claims.get(c.SINGLE_USE_UUID),
    )


def grant_of_restrictions(restrictions: Restrictions) -> Grant:
    """What a policy grants to those whom it does not exclude."""
    return Grant(origins=restrictions.origins or None, strict_origin=restrictions.strict_origin)
