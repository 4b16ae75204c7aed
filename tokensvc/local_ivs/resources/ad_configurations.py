"""Ad configurations.

Sources: API reference, CreateAdConfiguration, MediaTailorPlaybackConfiguration and PostRollConfiguration; IVS user
guide, "Server-Side Ad Insertion". There is no MediaTailor here: every playback configuration of the caller's account
and region is assumed to exist and to have the right content source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.resources.types import ResourceType, limited, unlimited
from tokensvc.local_ivs.transaction import Body, OperationCall

POST_ROLL_DEFAULTS: Mapping[str, Any] = {"enabled": False, "durationSeconds": 15}


def validate_playback_configurations(call: OperationCall, request: Mapping[str, Any], _: Body) -> Iterator[Violation]:
    """MediaTailor playback configurations must be of the caller's account and region.

    INFERRED: A MediaTailor playback configuration of another account or region is a ValidationException. For the region
    this follows the model; the user guide would allow any region of IVS.

    INFERRED: Each entry of `mediaTailorPlaybackConfigurations` must name its configuration, although the model requires
    no member of an entry.
    """
    member = "mediaTailorPlaybackConfigurations"
    for number, entry in enumerate(request.get(member, ()), 1):
        path = f"{member}.{number}.member.playbackConfigurationArn"
        arn = entry.get("playbackConfigurationArn")
        if not arn:
            yield Violation(path, "Member must not be null")
        elif arn.split(":")[3:5] != [call.account_region.region, call.account_region.account]:
            yield Violation(path, "Member must be of the same account and region")


AD_CONFIGURATION = ResourceType(
    kind="ad-configuration",
    member="adConfiguration",
    list_member="adConfigurations",
    operations={
        **limited(
            3,
            create="CreateAdConfiguration",
            get="GetAdConfiguration",
            delete="DeleteAdConfiguration",
            list="ListAdConfigurations",
        ),
        **unlimited(update="UpdateAdConfiguration"),
    },
    quota=20,
    quota_text="20 ad configurations per account and region",
    page_size=20,  # "your service quota or 100, whichever is less"
    defaults={"name": "", "postRollConfiguration": POST_ROLL_DEFAULTS, "tags": {}},
    rules=(validate_playback_configurations,),
)
