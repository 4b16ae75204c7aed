"""IVS's service model as the local IVS serves it: corrections to the published model, and errors it does not describe.

Invariants
- The model is loaded from the installed botocore (a dependency of boto3), so no copy of it can become outdated.
- Operations come from botocore's model alone; a correction changes a published value and cannot add an operation.
- A correction has a reason. It is applied only while the published value is the one that it corrects.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, NamedTuple

from botocore.loaders import Loader

from tokensvc.local_ivs.model import ApiModel

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
        "a plus is missing after [a-z-]: taken literally, the tag operations would reject every real ARN",
    ),
)

DOCUMENTED_ERRORS = {
    "ExpiredTokenException": 403,
    "IncompleteSignature": 403,
    "UnrecognizedClientException": 403,
    "RequestEntityTooLargeException": 413,
    "RequestTimeoutException": 408,
    "UnknownOperationException": 404,
}
"""IVS API reference, "Common Errors"."""
INFERRED_ERRORS = {"InvalidSignatureException": 403, "MissingAuthenticationTokenException": 403}
"""INFERRED: A request with a wrong signature, or without one, gets the error of API Gateway, which seems to be in front
of IVS."""
OWN_ERRORS = {"NotImplementedException": 501}
"""Errors that only the local IVS has."""
COMMON_ERRORS: dict[str, int] = {**DOCUMENTED_ERRORS, **INFERRED_ERRORS, **OWN_ERRORS}
"""Error -> HTTP status, for errors that the model does not describe."""


@cache
def load() -> ApiModel:
    """Load the installed model, correct and compile it."""
    published = Loader().load_service_model(SERVICE, "service-2")
    return ApiModel(patched(published))


@cache
def regions() -> frozenset[str]:
    """The regions that have IVS, according to the installed botocore's endpoint data."""
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


def status_of(model: ApiModel, code: str) -> int:
    """The HTTP status of an error."""
    return model.error_status.get(code) or COMMON_ERRORS[code]
