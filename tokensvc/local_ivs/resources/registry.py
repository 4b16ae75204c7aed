"""All resource types. A new resource is added here after its file in this folder has been written."""

from __future__ import annotations

from collections.abc import Mapping

from tokensvc.local_ivs.resources.ad_configurations import AD_CONFIGURATION
from tokensvc.local_ivs.resources.channels import CHANNEL
from tokensvc.local_ivs.resources.failover_slates import FAILOVER_SLATE_CONFIGURATION
from tokensvc.local_ivs.resources.playback_key_pairs import PLAYBACK_KEY_PAIR
from tokensvc.local_ivs.resources.recording_configurations import RECORDING_CONFIGURATION
from tokensvc.local_ivs.resources.restriction_policies import RESTRICTION_POLICY
from tokensvc.local_ivs.resources.stream_keys import STREAM_KEY
from tokensvc.local_ivs.resources.types import ResourceType

RESOURCE_TYPES: Mapping[str, ResourceType] = {
    resource_type.kind: resource_type
    for resource_type in (
        CHANNEL,
        STREAM_KEY,
        PLAYBACK_KEY_PAIR,
        RESTRICTION_POLICY,
        RECORDING_CONFIGURATION,
        AD_CONFIGURATION,
        FAILOVER_SLATE_CONFIGURATION,
    )
}
"""Kind -> resource type."""
