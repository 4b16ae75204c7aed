"""Failover slate configurations.

Source: API reference, CreateFailoverSlateConfiguration, UpdateFailoverSlateConfiguration, FailoverSlateConfiguration.

INFERRED: A failover slate configuration can be updated and deleted while its state is CREATING or UPDATING, since no
page says otherwise.
"""

from __future__ import annotations

from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.types import ResourceType, unlimited
from tokensvc.local_ivs.transaction import Body, OperationCall

CREATING_SECONDS = 3.0
UPDATING_SECONDS = 3.0
"""INFERRED: The states CREATING and UPDATING of a failover slate configuration last 3 seconds each; AWS documents no
duration."""
QUOTA = 20
"""INFERRED: The quota of failover slate configurations is 20, like those of recording and ad configurations. No source
was found."""

_UPDATED_AT = "updatedAt"


def record_update_time(call: OperationCall, body: Body) -> None:
    """The state is UPDATING before it is CREATED again."""
    body[_UPDATED_AT] = call.now


def render(call: OperationCall, resource: Resource) -> Body:
    """The stored members, and the state derived from the clock."""
    return {**resource.body, "arn": resource.arn, "state": _state(call.now, resource)}


def _state(now: float, resource: Resource) -> str:
    if now < resource.created_at + CREATING_SECONDS:
        return "CREATING"
    updated_at = resource.body.get(_UPDATED_AT)
    return "UPDATING" if updated_at is not None and now < updated_at + UPDATING_SECONDS else "CREATED"


FAILOVER_SLATE_CONFIGURATION = ResourceType(
    kind="failover-slate-configuration",
    member="failoverSlateConfiguration",
    list_member="failoverSlateConfigurations",
    operations=unlimited(
        create="CreateFailoverSlateConfiguration",
        get="GetFailoverSlateConfiguration",
        update="UpdateFailoverSlateConfiguration",
        delete="DeleteFailoverSlateConfiguration",
        list="ListFailoverSlateConfigurations",
    ),
    quota=QUOTA,
    quota_documented=False,
    quota_text=f"{QUOTA} failover slate configurations per account and region",
    page_size=QUOTA,  # "your service quota or 100, whichever is less"
    defaults={
        "name": "",
        "activationThresholdSeconds": 3,
        "minSlateDisplaySeconds": 3,
        "maxSlateDisplaySeconds": 60,
        "tags": {},
    },
    on_update=record_update_time,
    render=render,
)
