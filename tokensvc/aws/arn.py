"""Amazon Resource Names of IVS.

Invariants
- The form is `arn:aws:ivs:<region>:<12-digit account>:<kind>/<id>`, at most 128 characters
  (IVS API reference, the patterns of every `…Arn` shape). The partition is literally `aws`.
- A channel's playback path, `<region>.<account>.channel.<id>.m3u8`, contains the same parts as its ARN
  (IVS user guide, "Stream Health", sample playback URLs), so both are parsed and formatted here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

ARN_MAX_CHARS = 128
_ARN = re.compile(r"arn:aws:ivs:([a-z0-9-]+):([0-9]{12}):([a-z-]+)/([a-zA-Z0-9-]+)")
_PLAYBACK_PATH = re.compile(r"/api/video/v1/([a-z0-9-]+)\.([0-9]{12})\.channel\.([a-zA-Z0-9-]+)\.m3u8")


class AccountRegion(NamedTuple):
    """One AWS account in one region. Quotas, keys and channels belong to an account and region."""

    account: str
    region: str


class Arn(NamedTuple):
    """The parts of an IVS resource's ARN. `str()` formats it."""

    account_region: AccountRegion
    kind: str
    id: str

    def __str__(self) -> str:
        return f"arn:aws:ivs:{self.account_region.region}:{self.account_region.account}:{self.kind}/{self.id}"

    @property
    def playback_path(self) -> str:
        """The path of a channel's multivariant playlist."""
        return f"/api/video/v1/{self.account_region.region}.{self.account_region.account}.channel.{self.id}.m3u8"


@lru_cache(maxsize=8192)
def parse_arn(text: str, kind: str | None = None) -> Arn:
    """Parse an ARN. Raises ValueError naming the form if the text is not an ARN, or not one of this kind."""
    found = _ARN.fullmatch(text) if len(text) <= ARN_MAX_CHARS else None
    if found is None or (kind is not None and found[3] != kind):
        raise ValueError(f"must have the form arn:aws:ivs:<region>:<12-digit account>:{kind or '<kind>'}/<id>")
    return Arn(AccountRegion(account=found[2], region=found[1]), found[3], found[4])


def channel_of_path(path: str) -> Arn | None:
    """The channel that a playback path names, or None for any other path."""
    found = _PLAYBACK_PATH.fullmatch(path)
    return Arn(AccountRegion(account=found[2], region=found[1]), "channel", found[3]) if found else None
