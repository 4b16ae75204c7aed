"""What IVS makes up: ids, hosts, keys and passphrases, in the forms that AWS's pages show.

Rules of the file
- Chance enters as an argument, `token(alphabet, length)`; nothing here draws a random number.
- The forms come from the IVS user guide ("Streaming Configuration", "Stream Health") and the AWS CLI's examples.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable
from functools import lru_cache

from tokensvc.aws.arn import Arn, AccountRegion

RandomString = Callable[[str, int], str]
"""(alphabet, length) -> that many characters of it, drawn at random."""

ALPHANUMERIC = string.ascii_letters + string.digits
LOWER_ALPHANUMERIC = string.ascii_lowercase + string.digits
ID_CHARS = 12
SRT_PASSPHRASE_CHARS = 69
HOST_PREFIX_CHARS = 12


def new_arn(account_region: AccountRegion, kind: str, token: RandomString) -> Arn:
    """A name for a new resource."""
    return Arn(account_region, kind, token(ALPHANUMERIC, ID_CHARS))


def stream_key_value(channel: Arn, token: RandomString) -> str:
    """`sk_<region>_<channel's id>_<12 more>`. INFERRED: that the middle is always the channel's id, as in examples."""
    return f"sk_{channel.account_region.region}_{channel.id}_{token(LOWER_ALPHANUMERIC, ID_CHARS)}"


def srt_passphrase(token: RandomString) -> str:
    return token(ALPHANUMERIC, SRT_PASSPHRASE_CHARS)


@lru_cache(maxsize=1024)
def host_prefix(account_region: AccountRegion) -> str:
    """The first label of all hosts of an account in a region: one and the same for ingest, SRT and playback."""
    return hashlib.sha256(f"{account_region.account}/{account_region.region}".encode()).hexdigest()[:HOST_PREFIX_CHARS]


def ingest_endpoint(account_region: AccountRegion) -> str:
    return f"{host_prefix(account_region)}.global-contribute.live-video.net"


def srt_endpoint(account_region: AccountRegion) -> str:
    return f"{host_prefix(account_region)}.srt.live-video.net"


def playback_url(channel: Arn, base_url: str) -> str:
    """Where the channel is watched. The path is IVS's own, the host is wherever the local edge is reached."""
    return f"{base_url}{channel.playback_path}"
