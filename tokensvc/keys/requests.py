"""Requests about keys: to list them, to rotate them, to mark one compromised."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tokensvc.json_models import RequestModel
from tokensvc.pagination import PageQuery, PageTokens


class KeyQuery(PageQuery):
    """Which keys are wanted: all of them, in pages."""

    page_tokens: ClassVar[PageTokens] = PageTokens("keys", "([A-Za-z0-9._:-]{1,64})")


class RotateKeysRequest(RequestModel):
    """Which regions another key is to sign in."""

    regions: list[Annotated[str, Field(max_length=64)]] | None = Field(
        None, min_length=1, max_length=64, description="Without it, all that keys are held in"
    )


class CompromiseRequest(RequestModel):
    """How far the distrust goes."""

    include_standby: bool = Field(False, description="Keys that have never signed are compromised too")
