"""Callers are held to IVS's published rates, and a call that came too soon has changed nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.local_ivs.environment import (
    HERE,
    OPERATIONS,
    OTHER_ACCOUNT,
    OTHER_REGION,
    StandingClock,
    counting_token,
    everything,
)
from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.model import ServiceModel
from tokensvc.local_ivs.rate_limits import BUCKETS_BEFORE_CLEARING, RATES, WITHOUT_PUBLISHED_RATE, OperationRateLimiter
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

CHANNEL = "arn:aws:ivs:us-west-2:000000000000:channel/{}"


@pytest.fixture
def limited(model: ServiceModel, resources: SqliteResourceStore, clock: StandingClock) -> LocalIvs:
    return LocalIvs(model, resources, clock, counting_token(), b"secret", rates=OperationRateLimiter())


def refusal(local: LocalIvs, operation: str, account_region: AccountRegion = HERE, /, **request: Any) -> str:
    """The code of the refusal; "" where there is none."""
    try:
        local.call(account_region, operation, request, "")
    except IvsError as refused:
        return refused.code
    return ""


def test_every_operation_has_its_rates_or_is_known_to_have_none() -> None:
    assert set(OPERATIONS) == RATES.keys() | WITHOUT_PUBLISHED_RATE
    assert set() == RATES.keys() & WITHOUT_PUBLISHED_RATE


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
def test_rates_are_those_of_the_quota_page(operation: str, per_second: int) -> None:
    """IVS user guide, "Service Quotas"."""
    assert [tuple(rate) for rate in RATES[operation]] == [(per_second, "")]


def test_a_second_holds_as_many_calls_as_the_rate_says(limited: LocalIvs, clock: StandingClock) -> None:
    def burst() -> list[str]:
        return [refusal(limited, "ListChannels") for _ in range(7)]

    throttled = "ThrottlingException"
    assert burst() == [""] * 5 + [throttled] * 2
    clock.at += 0.5
    assert burst() == [""] * 2 + [throttled] * 5
    clock.at += 3600
    assert burst() == [""] * 5 + [throttled] * 2
    assert refusal(limited, "GetChannel", arn=CHANNEL.format("x")) == "ResourceNotFoundException"
    for elsewhere in (OTHER_ACCOUNT, OTHER_REGION):
        assert refusal(limited, "ListChannels", elsewhere) == ""


def test_the_message_is_the_observed_one_and_says_how_to_turn_it_off(limited: LocalIvs) -> None:
    arn = CHANNEL.format("a")
    for _ in range(5):
        assert refusal(limited, "PutMetadata", channelArn=arn, metadata="x") == "ResourceNotFoundException"
    with pytest.raises(IvsError) as refused:
        limited.call(HERE, "PutMetadata", {"channelArn": arn, "metadata": "x"}, "")
    assert refused.value.message.startswith(
        f"Operation: ivs:PutMetadata exceeded call rate: 5 for resource: {arn} (the local IVS"
    )
    assert "--no-rate-limits" in refused.value.message


def test_metadata_has_a_rate_for_each_channel_and_one_for_the_account(limited: LocalIvs, clock: StandingClock) -> None:
    """API reference, PutMetadata. A call that one of the two refuses takes nothing from the other."""

    def put(number: int) -> str:
        return refusal(limited, "PutMetadata", channelArn=CHANNEL.format(number), metadata="x")

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
    before = everything(resources)
    assert refusal(limited, "CreateChannel") == "ThrottlingException"
    assert everything(resources) == before


def test_what_breaks_the_models_rules_is_not_counted(limited: LocalIvs) -> None:
    assert {refusal(limited, "GetChannel") for _ in range(20)} == {"ValidationException"}
    assert refusal(limited, "GetChannel", arn=CHANNEL.format("x")) == "ResourceNotFoundException"


def test_without_rates_nobody_is_held_back(local: LocalIvs) -> None:
    assert {refusal(local, "ListChannels") for _ in range(50)} == {""}


def test_however_many_call_at_once_no_more_come_through(limited: LocalIvs) -> None:
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: refusal(limited, "ListStreams"), range(64)))
    assert outcomes.count("") == 5
    assert outcomes.count("ThrottlingException") == 59


def test_buckets_that_are_full_again_are_forgotten() -> None:
    rates = OperationRateLimiter()
    for number in range(BUCKETS_BEFORE_CLEARING + 100):
        rates.take("PutMetadata", HERE, {"channelArn": f"c{number}"}, number / 2)
    assert len(rates._buckets) < 200
