"""Failover slate configurations follow the rules of their operations in the API reference."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import FrozenClock
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.resources.failover_slates import CREATING_SECONDS, QUOTA, UPDATING_SECONDS


def create(call: CallIvs, **request: Any) -> dict[str, Any]:
    created: dict[str, Any] = call("CreateFailoverSlateConfiguration", **request)["failoverSlateConfiguration"]
    return created


def test_the_defaults_are_the_documented_ones(call: CallIvs) -> None:
    """API reference: activation after 3 seconds, shown for at least 3 and at most 60."""
    created = create(call)
    assert created.pop("arn").startswith("arn:aws:ivs:us-west-2:000000000000:failover-slate-configuration/")
    assert created == {
        "name": "",
        "activationThresholdSeconds": 3,
        "minSlateDisplaySeconds": 3,
        "maxSlateDisplaySeconds": 60,
        "state": "CREATING",
        "tags": {},
    }


def test_states_follow_the_clock(call: CallIvs, clock: FrozenClock) -> None:
    arn = create(call)["arn"]

    def state() -> str:
        (listed,) = call("ListFailoverSlateConfigurations")["failoverSlateConfigurations"]
        found = call("GetFailoverSlateConfiguration", arn=arn)["failoverSlateConfiguration"]
        assert listed["state"] == found["state"]
        return str(found["state"])

    clock.at += CREATING_SECONDS - 0.1
    assert state() == "CREATING"
    clock.at += 0.1
    assert state() == "CREATED"
    changed = call("UpdateFailoverSlateConfiguration", arn=arn, maxSlateDisplaySeconds=180)[
        "failoverSlateConfiguration"
    ]
    assert (changed["state"], changed["maxSlateDisplaySeconds"]) == ("UPDATING", 180)
    clock.at += UPDATING_SECONDS - 0.1
    assert state() == "UPDATING"
    clock.at += 0.1
    assert state() == "CREATED"


@pytest.mark.parametrize(
    ("member", "low", "high"),
    [("activationThresholdSeconds", 3, 5), ("minSlateDisplaySeconds", 3, 10), ("maxSlateDisplaySeconds", 60, 180)],
)
def test_each_duration_has_its_range(call: CallIvs, member: str, low: int, high: int) -> None:
    for seconds in (low, high):
        created = create(call, **{member: seconds})
        assert created[member] == seconds
    for seconds in (low - 1, high + 1):
        with pytest.raises(IvsError, match=f"ValidationException.*{member}"):
            create(call, **{member: seconds})
        with pytest.raises(IvsError, match=f"ValidationException.*{member}"):
            call("UpdateFailoverSlateConfiguration", arn=created["arn"], **{member: seconds})


def test_the_inferred_quota_is_enforced(call: CallIvs) -> None:
    for _ in range(QUOTA):
        create(call)
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        create(call)
    assert len(call("ListFailoverSlateConfigurations")["failoverSlateConfigurations"]) == QUOTA


def test_a_deleted_configuration_is_not_found(call: CallIvs) -> None:
    arn = create(call)["arn"]
    assert call("DeleteFailoverSlateConfiguration", arn=arn) == {}
    for operation in ("Get", "Update", "Delete"):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call(f"{operation}FailoverSlateConfiguration", arn=arn)
