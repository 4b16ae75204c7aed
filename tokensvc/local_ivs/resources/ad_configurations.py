"""Ad configurations: what is theirs alone.

Sources: API reference, CreateAdConfiguration, MediaTailorPlaybackConfiguration and PostRollConfiguration; IVS user
guide, "Server-Side Ad Insertion".
INFERRED
- There is no MediaTailor here: every playback configuration of the own account and region is taken to exist, with the
  right content source. One of another account or region is a validation. For the region the model's word is taken;
  the user guide would let IVS's regions be mixed.
- Each entry of the list must name its configuration, although the model requires no member of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.transaction import Body, OperationCall

POST_ROLL_DEFAULTS: Mapping[str, Any] = {"enabled": False, "durationSeconds": 15}
DEFAULTS: Mapping[str, Any] = {"name": "", "postRollConfiguration": POST_ROLL_DEFAULTS, "tags": {}}


def know_playback_configurations(call: OperationCall, request: Mapping[str, Any], _: Body) -> Iterator[Violation]:
    """MediaTailor's configurations are of the same account and region."""
    member = "mediaTailorPlaybackConfigurations"
    for number, entry in enumerate(request.get(member, ()), 1):
        path = f"{member}.{number}.member.playbackConfigurationArn"
        arn = entry.get("playbackConfigurationArn")
        if not arn:
            yield Violation(path, "Member must not be null")
        elif arn.split(":")[3:5] != [call.account_region.region, call.account_region.account]:
            yield Violation(path, "Member must be of the same account and region")
