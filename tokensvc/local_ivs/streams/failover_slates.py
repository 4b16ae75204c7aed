"""Failover slate configurations: what is theirs alone.

Source: API reference, CreateFailoverSlateConfiguration, UpdateFailoverSlateConfiguration, FailoverSlateConfiguration.
INFERRED
- How long one is CREATING and UPDATING; it may be changed and deleted meanwhile, as no page says otherwise.
- The quota: none was found. It is taken to be that of recording and ad configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.transaction import Body, OperationCall

CREATING_SECONDS = 3.0
UPDATING_SECONDS = 3.0
"""INFERRED: how long these states last before the state is CREATED; AWS names no time."""
QUOTA = 20
"""INFERRED."""

DEFAULTS: Mapping[str, Any] = {
    "name": "",  # INFERRED
    "activationThresholdSeconds": 3,
    "minSlateDisplaySeconds": 3,
    "maxSlateDisplaySeconds": 60,
    "tags": {},
}


_UPDATED_AT = "updatedAt"


def stamp(call: OperationCall, body: Body) -> None:
    """An update is kept with its instant, so that the state can follow from the clock."""
    body[_UPDATED_AT] = call.now


def show(call: OperationCall, resource: Resource) -> Body:
    """The state follows from the clock."""
    return {**resource.body, "arn": resource.arn, "state": _state(call.now, resource)}


def _state(now: float, resource: Resource) -> str:
    if now < resource.created_at + CREATING_SECONDS:
        return "CREATING"
    updated_at = resource.body.get(_UPDATED_AT)
    return "UPDATING" if updated_at is not None and now < updated_at + UPDATING_SECONDS else "CREATED"
