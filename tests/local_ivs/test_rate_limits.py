"""Callers are limited to IVS's published rates, and a throttled call changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.local_ivs.environment import (
    HERE,
    OTHER_ACCOUNT,
    OTHER_REGION,
    FrozenClock,
    all_stored,
    counting_strings,
)
from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.rate_limits import MAX_BUCKETS, OperationRateLimiter
from tokensvc.local_ivs.service import HANDLERS, LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

CHANNEL = "arn:aws:ivs:us-west-2:000000000000:channel/{}"
WITHOUT_PUBLISHED_RATE = {
    "UpdateAdConfiguration",
    *("CreateFailoverSlateConfiguration", "GetFailoverSlateConfiguration", "UpdateFailoverSlateConfiguration"),
    *("DeleteFailoverSlateConfiguration", "ListFailoverSlateConfigurations"),
}
"""The quota page has no row for these operations, so nothing limits them here; IVS surely limits them."""


@pytest.fixture
def limited(model: ApiModel, resources: SqliteResourceStore, clock: FrozenClock) -> LocalIvs:
    return LocalIvs(model, resources, clock, counting_strings(), b"secret", rate_limiter=OperationRateLimiter())


def error_code(local: LocalIvs, operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> str:
    """The code of the call's error; "" if it succeeds."""
    try:
        local.call(account_region, operation, request, "")
    except IvsError as error:
        return error.code
    return ""


def test_every_operation_has_a_rate_limit_or_is_known_to_have_none_published() -> None:
    assert {name for name, handler in HANDLERS.items() if not handler.rate_limits} == WITHOUT_PUBLISHED_RATE


@pytest.mark.parametrize(
    ("operation", "per_second"),
    [
        ("GetChannel", 5),
        ("CreateStreamKey", 5),
        ("StopStream", 5),
        ("ListPlaybackRestrictionPolicies", 5),
        ("ImportPlaybackKeyPair", 3),
        ("ListRecordingConfigurations", 3),
        ("DeleteAdConfiguration", 3),
        ("StartViewerSessionRevocation", 10),
        ("BatchStartViewerSessionRevocation", 2),
        ("InsertAdBreak", 1),
        ("UntagResource", 10),
    ],
)
def test_rate_limits_are_those_of_the_quota_page(operation: str, per_second: int) -> None:
    """IVS user guide, "Service Quotas"."""
    assert [tuple(limit) for limit in HANDLERS[operation].rate_limits] == [(per_second, "")]


def test_one_second_of_calls_is_allowed_at_once(limited: LocalIvs, clock: FrozenClock) -> None:
    def burst() -> list[str]:
        return [error_code(limited, "ListChannels") for _ in range(7)]

    throttled = "ThrottlingException"
    assert burst() == [""] * 5 + [throttled] * 2
    clock.at += 0.5
    assert burst() == [""] * 2 + [throttled] * 5
    clock.at += 3600
    assert burst() == [""] * 5 + [throttled] * 2
    assert error_code(limited, "GetChannel", arn=CHANNEL.format("x")) == "ResourceNotFoundException"
    for elsewhere in (OTHER_ACCOUNT, OTHER_REGION):
        assert error_code(limited, "ListChannels", elsewhere) == ""


def test_the_message_is_the_observed_one_and_names_the_switch(limited: LocalIvs) -> None:
    arn = CHANNEL.format("a")
    for _ in range(5):
        assert error_code(limited, "PutMetadata", channelArn=arn, metadata="x") == "ResourceNotFoundException"
    with pytest.raises(IvsError) as raised:
        limited.call(HERE, "PutMetadata", {"channelArn": arn, "metadata": "x"}, "")
    assert raised.value.message.startswith(
        f"Operation: ivs:PutMetadata exceeded call rate: 5 for resource: {arn} (the local IVS"
    )
    assert "--no-rate-limits" in raised.value.message


def test_metadata_has_a_limit_per_channel_and_one_per_account(limited: LocalIvs, clock: FrozenClock) -> None:
    """API reference, PutMetadata. A call that exceeds one limit does not count for the other."""

    def put(number: int) -> str:
        return error_code(limited, "PutMetadata", channelArn=CHANNEL.format(number), metadata="x")

    for number in range(31):
        assert [put(number) for _ in range(5)] == ["ResourceNotFoundException"] * 5
    assert put(99) == "ThrottlingException"
    clock.at += 0.01
    assert put(0) == "ThrottlingException"
    assert put(99) == "ResourceNotFoundException"
    assert put(99) == "ThrottlingException"


def test_a_throttled_call_changes_nothing(limited: LocalIvs, resources: SqliteResourceStore) -> None:
    for _ in range(5):
        limited.call(HERE, "CreateChannel", {}, "")
    before = all_stored(resources)
    assert error_code(limited, "CreateChannel") == "ThrottlingException"
    assert all_stored(resources) == before


def test_invalid_requests_are_not_counted(limited: LocalIvs) -> None:
    assert {error_code(limited, "GetChannel") for _ in range(20)} == {"ValidationException"}
    assert error_code(limited, "GetChannel", arn=CHANNEL.format("x")) == "ResourceNotFoundException"


def test_without_a_limiter_no_call_is_throttled(local: LocalIvs) -> None:
    assert {error_code(local, "ListChannels") for _ in range(50)} == {""}


def test_concurrent_calls_do_not_exceed_the_limit(limited: LocalIvs) -> None:
    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(lambda _: error_code(limited, "ListStreams"), range(64)))
    assert codes.count("") == 5
    assert codes.count("ThrottlingException") == 59


@pytest.mark.parametrize("seconds", [0.5, 1, 600])
def test_calls_are_allowed_within_a_second_after_the_clock_was_set_back(
    limited: LocalIvs, clock: FrozenClock, seconds: float
) -> None:
    assert [error_code(limited, "ListChannels") for _ in range(6)] == [""] * 5 + ["ThrottlingException"]
    clock.at -= seconds
    calls = []
    for _ in range(10):
        clock.at += 0.1
        calls.append(error_code(limited, "ListChannels"))
    assert 4 <= calls.count("") <= 10


def test_full_buckets_are_dropped() -> None:
    limiter, limits = OperationRateLimiter(), HANDLERS["PutMetadata"].rate_limits
    for number in range(MAX_BUCKETS + 100):
        limiter.acquire("PutMetadata", limits, HERE, {"channelArn": f"c{number}"}, number / 2)
    assert len(limiter._buckets) < 200


def test_buckets_from_before_the_clock_was_set_back_are_dropped() -> None:
    limiter, limits = OperationRateLimiter(), HANDLERS["PutMetadata"].rate_limits
    for number in range(MAX_BUCKETS - 1):
        limiter.acquire("PutMetadata", limits, HERE, {"channelArn": f"c{number}"}, 1_000_000 + number / 2)
    for number in range(100):
        limiter.acquire("PutMetadata", limits, HERE, {"channelArn": f"d{number}"}, number / 2)
    assert len(limiter._buckets) < 200
