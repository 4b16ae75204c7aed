"""What IVS generates: ids, hosts, stream keys and passphrases, in the forms that AWS's pages show.

Invariants
- Randomness is an argument, `random_string(alphabet, length)`; nothing here draws a random number.
- The forms come from the IVS user guide ("Streaming Configuration", "Stream Health") and the AWS CLI's examples.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable
from functools import lru_cache

from tokensvc.aws.arn import AccountRegion, Arn

RandomString = Callable[[str, int], str]
"""(alphabet, length) -> that many characters of the alphabet, drawn at random."""

ALPHANUMERIC = string.ascii_letters + string.digits
LOWER_ALPHANUMERIC = string.ascii_lowercase + string.digits
ID_CHARS = 12
SRT_PASSPHRASE_CHARS = 69
HOST_PREFIX_CHARS = 12


def new_arn(account_region: AccountRegion, kind: str, random_string: RandomString) -> Arn:
    """The ARN of a new resource."""
    return Arn(account_region, kind, random_string(ALPHANUMERIC, ID_CHARS))


def stream_key_value(channel: Arn, random_string: RandomString) -> str:
    """`sk_<region>_<channel id>_<12 characters>`.

    INFERRED: The middle of a stream key is always the channel's id, as in AWS's examples.
    """
    return f"sk_{channel.account_region.region}_{channel.id}_{random_string(LOWER_ALPHANUMERIC, ID_CHARS)}"


def srt_passphrase(random_string: RandomString) -> str:
    return random_string(ALPHANUMERIC, SRT_PASSPHRASE_CHARS)


@lru_cache(maxsize=1024)
def host_prefix(account_region: AccountRegion) -> str:
    """The first label of all hosts of an account in a region, shared by ingest, SRT and playback."""
    digest = hashlib.sha256(f"{account_region.account}/{account_region.region}".encode()).hexdigest()
    return digest[:HOST_PREFIX_CHARS]


def ingest_endpoint(account_region: AccountRegion) -> str:
    return f"{host_prefix(account_region)}.global-contribute.live-video.net"


def srt_endpoint(account_region: AccountRegion) -> str:
    return f"{host_prefix(account_region)}.srt.live-video.net"


def playback_url(channel: Arn, base_url: str) -> str:
    """The playback URL of a channel: IVS's own path under the base URL of the local edge."""
    return f"{base_url}{channel.playback_path}"
