"""Bodies and parameters of requests about keys: list, rotate, mark as compromised."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tokensvc.json_models import RequestModel
from tokensvc.pagination import PageQuery, PageTokens


class KeyQuery(PageQuery):
    """Parameters of a list of keys."""

    page_tokens: ClassVar[PageTokens] = PageTokens("keys", "([A-Za-z0-9._:-]{1,64})")


class RotateKeysRequest(RequestModel):
    """The regions in which to rotate keys."""

    regions: list[Annotated[str, Field(max_length=64)]] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="The regions in which to rotate. Default: all configured regions, or else all that hold a key",
    )


class CompromiseRequest(RequestModel):
    """Which keys to mark as compromised."""

    include_standby: bool = Field(
        False, description="`true`: also mark all keys as compromised that have never signed, such as the standby"
    )
