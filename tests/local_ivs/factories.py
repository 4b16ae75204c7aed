"""One of each kind of resource, made by its own operation."""

from __future__ import annotations

from collections.abc import Callable

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, pem
from tokensvc.aws.arn import AccountRegion

Make = Callable[[CallIvs, AccountRegion], str]
"""(call, place) -> the new one's ARN."""


def _mediatailor(place: AccountRegion) -> list[dict[str, str]]:
    name = f"arn:aws:mediatailor:{place.region}:{place.account}:playbackConfiguration/ads"
    return [{"playbackConfigurationArn": name}]


_S3 = {"s3": {"bucketName": "my-bucket"}}

MAKERS: dict[str, Make] = {
    "channel": lambda call, place: str(call("CreateChannel", place)["channel"]["arn"]),
    "stream-key": lambda call, place: str(call("CreateChannel", place)["streamKey"]["arn"]),
    "playback-key": lambda call, place: str(
        call("ImportPlaybackKeyPair", place, publicKeyMaterial=pem(1))["keyPair"]["arn"]
    ),
    "playback-restriction-policy": lambda call, place: str(
        call("CreatePlaybackRestrictionPolicy", place)["playbackRestrictionPolicy"]["arn"]
    ),
    "recording-configuration": lambda call, place: str(
        call("CreateRecordingConfiguration", place, destinationConfiguration=_S3)["recordingConfiguration"]["arn"]
    ),
    "ad-configuration": lambda call, place: str(
        call("CreateAdConfiguration", place, mediaTailorPlaybackConfigurations=_mediatailor(place))["adConfiguration"][
            "arn"
        ]
    ),
    "failover-slate-configuration": lambda call, place: str(
        call("CreateFailoverSlateConfiguration", place)["failoverSlateConfiguration"]["arn"]
    ),
}


def make(call: CallIvs, kind: str, place: AccountRegion = HERE) -> str:
    """Make one and return its ARN."""
    return MAKERS[kind](call, place)
