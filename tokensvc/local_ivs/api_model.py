"""The model of IVS as the local IVS serves it: where the published one is corrected, and which operations answer.

Rules of the file
- The model is read from the installed botocore (boto3 brings it), so there is no copy of it here that grows old.
- A correction is a row with its reason. It is applied only while the published value is the one that it corrects.
- Every operation of the model is named here, as served or as not yet; a test fails when AWS adds one.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, NamedTuple

from botocore.loaders import Loader

from tokensvc.local_ivs.model import ServiceModel

SERVICE = "ivs"


class Patch(NamedTuple):
    """One correction of the published model."""

    shape: str
    key: str
    published: Any
    corrected: Any
    reason: str


PATCHES = (
    Patch(
        "ResourceArn",
        "pattern",
        "arn:aws:ivs:[a-z0-9-]+:[0-9]+:[a-z-]/[a-zA-Z0-9-]+",
        "arn:aws:ivs:[a-z0-9-]+:[0-9]+:[a-z-]+/[a-zA-Z0-9-]+",
        "a plus is missing after [a-z-]: taken literally, every real ARN would be refused by the tag operations",
    ),
)

SERVED = frozenset(
    {
        *("CreateChannel", "GetChannel", "UpdateChannel", "DeleteChannel", "ListChannels", "BatchGetChannel"),
        *("CreateStreamKey", "GetStreamKey", "DeleteStreamKey", "ListStreamKeys", "BatchGetStreamKey"),
        *("ImportPlaybackKeyPair", "GetPlaybackKeyPair", "DeletePlaybackKeyPair", "ListPlaybackKeyPairs"),
        *("CreatePlaybackRestrictionPolicy", "GetPlaybackRestrictionPolicy", "UpdatePlaybackRestrictionPolicy"),
        *("DeletePlaybackRestrictionPolicy", "ListPlaybackRestrictionPolicies"),
        *("CreateRecordingConfiguration", "GetRecordingConfiguration", "DeleteRecordingConfiguration"),
        "ListRecordingConfigurations",
        *("CreateAdConfiguration", "GetAdConfiguration", "UpdateAdConfiguration", "DeleteAdConfiguration"),
        "ListAdConfigurations",
        *("CreateFailoverSlateConfiguration", "GetFailoverSlateConfiguration", "UpdateFailoverSlateConfiguration"),
        *("DeleteFailoverSlateConfiguration", "ListFailoverSlateConfigurations"),
        *("StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"),
        *("TagResource", "UntagResource", "ListTagsForResource"),
        *("GetStream", "ListStreams", "StopStream", "GetStreamSession", "ListStreamSessions"),
        *("PutMetadata", "InsertAdBreak"),
    }
)
"""The whole model, written down: a test names the operation that a newer one brings. Until somebody serves that, it is
routed and checked like the others, then answered with NotImplementedException."""

COMMON_ERRORS: dict[str, int] = {
    # IVS API reference, "Common Errors".
    "ExpiredTokenException": 403,
    "IncompleteSignature": 403,
    "UnrecognizedClientException": 403,
    "RequestEntityTooLargeException": 413,
    "RequestTimeoutException": 408,
    "UnknownOperationException": 404,
    # INFERRED: what API Gateway says, in front of which IVS seems to stand.
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    # Ours alone.
    "NotImplementedException": 501,
}
"""Statuses of errors that the model does not hold."""


@cache
def load() -> ServiceModel:
    """Read the installed model, correct it and prepare it."""
    published = Loader().load_service_model(SERVICE, "service-2")
    return ServiceModel(patched(published))


@cache
def regions() -> frozenset[str]:
    """The regions that have IVS, by the installed botocore's endpoint data."""
    partitions = Loader().load_data("endpoints")["partitions"]
    return frozenset(
        region for partition in partitions for region in partition["services"].get(SERVICE, {}).get("endpoints", {})
    )


def patched(published: dict[str, Any]) -> dict[str, Any]:
    """The published model, corrected."""
    model = copy.deepcopy(published)
    for patch in PATCHES:
        shape = model["shapes"].get(patch.shape, {})
        if shape.get(patch.key) == patch.published:
            shape[patch.key] = patch.corrected
    return model


def status_of(model: ServiceModel, code: str) -> int:
    """The HTTP status of an error."""
    return model.error_status.get(code) or COMMON_ERRORS[code]
