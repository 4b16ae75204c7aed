"""Creates one resource of each kind with its own operation."""

from __future__ import annotations

from collections.abc import Callable

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, pem
from tokensvc.aws.arn import AccountRegion

Create = Callable[[CallIvs, AccountRegion], str]
"""(call, account and region) -> the new resource's ARN."""


def _mediatailor(account_region: AccountRegion) -> list[dict[str, str]]:
    name = f"arn:aws:mediatailor:{account_region.region}:{account_region.account}:playbackConfiguration/ads"
    return [{"playbackConfigurationArn": name}]


_S3 = {"s3": {"bucketName": "my-bucket"}}

CREATORS: dict[str, Create] = {
    "channel": lambda call, account_region: str(call("CreateChannel", account_region)["channel"]["arn"]),
    "stream-key": lambda call, account_region: str(call("CreateChannel", account_region)["streamKey"]["arn"]),
    "playback-key": lambda call, account_region: str(
        call("ImportPlaybackKeyPair", account_region, publicKeyMaterial=pem(1))["keyPair"]["arn"]
    ),
    "playback-restriction-policy": lambda call, account_region: str(
        call("CreatePlaybackRestrictionPolicy", account_region)["playbackRestrictionPolicy"]["arn"]
    ),
    "recording-configuration": lambda call, account_region: str(
        call("CreateRecordingConfiguration", account_region, destinationConfiguration=_S3)["recordingConfiguration"][
            "arn"
        ]
    ),
    "ad-configuration": lambda call, account_region: str(
        call("CreateAdConfiguration", account_region, mediaTailorPlaybackConfigurations=_mediatailor(account_region))[
            "adConfiguration"
        ]["arn"]
    ),
    "failover-slate-configuration": lambda call, account_region: str(
        call("CreateFailoverSlateConfiguration", account_region)["failoverSlateConfiguration"]["arn"]
    ),
}


def create_resource(call: CallIvs, kind: str, account_region: AccountRegion = HERE) -> str:
    """Create a resource and return its ARN."""
    return CREATORS[kind](call, account_region)
