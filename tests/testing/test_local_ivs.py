"""LocalIVS: a local IVS in the process of the tests, and its accounts."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from tokensvc.errors import InvalidRequest, SettingsError
from tokensvc.local_ivs.errors import IvsError
from tokensvc.testing import LocalIVS
from tokensvc.testing.account import MOTO_ACCESS_KEY

pytestmark = pytest.mark.slow

ONE_ATTEMPT = Config(retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def ivs() -> Iterator[LocalIVS]:
    with LocalIVS() as ivs:
        yield ivs


def test_it_serves_while_the_block_runs_and_leaves_nothing_behind() -> None:
    before, threads = dict(os.environ), set(threading.enumerate())
    with LocalIVS() as ivs:
        client = ivs.account.client(config=ONE_ATTEMPT)
        assert client.list_channels()["channels"] == []
    assert dict(os.environ) == before
    assert set(threading.enumerate()) <= threads
    with pytest.raises(EndpointConnectionError):
        client.list_channels()
    client.close()


def test_two_at_a_time_have_nothing_in_common(ivs: LocalIVS) -> None:
    with LocalIVS(region="eu-west-1") as other:
        assert other.url != ivs.url
        ivs.account.create_channel("ours")
        assert other.account.client().list_channels()["channels"] == []
        other.clock.advance(60)
        assert ivs.clock.offset_seconds == 0
        assert ":eu-west-1:" in other.account.create_channel().arn


def test_it_can_be_entered_again_and_is_empty_then() -> None:
    ivs = LocalIVS()
    for _ in range(2):
        with ivs:
            ivs.account.create_channel("main")
            assert [channel["name"] for channel in ivs.account.client().list_channels()["channels"]] == ["main"]


def test_outside_of_its_block_errors_say_how_to_use_it() -> None:
    rule = r"inside its block only: with LocalIVS\(\) as ivs"
    ivs = LocalIVS()
    with pytest.raises(AttributeError, match=rule):
        _ = ivs.url
    with ivs:
        account = ivs.new_account()
        with pytest.raises(RuntimeError, match="running already"), ivs:
            pass
        account.create_channel()
    for use in (account.create_channel, lambda: ivs.edge.open("/"), lambda: ivs.new_account().client()):
        with pytest.raises(AttributeError, match=rule):
            use()
    with pytest.raises(AttributeError, match="no attribute 'edges'"):
        _ = ivs.edges  # type: ignore[attr-defined]
    assert "None" in repr(ivs)


def test_an_entered_account_is_that_of_boto3(ivs: LocalIVS) -> None:
    with ivs.new_account() as account:
        channel = account.create_channel("main")
        for client in (boto3.client("ivs"), boto3.session.Session().client("ivs")):
            assert client.get_channel(arn=channel.arn)["channel"]["playbackUrl"] == channel.playback_url
            client.close()
    assert "AWS_ENDPOINT_URL_IVS" not in os.environ


def test_after_its_block_an_account_is_closed(ivs: LocalIVS) -> None:
    with ivs.new_account() as account:
        remaining = boto3.client("ivs", config=ONE_ATTEMPT)
        remaining.list_channels()
    with ivs.new_account(), pytest.raises(ClientError, match="UnrecognizedClientException"):
        remaining.list_channels()
    remaining.close()
    assert account.access_key_id not in ivs.credentials
    assert MOTO_ACCESS_KEY[0] not in ivs.credentials


def test_an_account_can_be_entered_again(ivs: LocalIVS) -> None:
    account = ivs.new_account()
    for number in range(2):
        with account:
            account.create_channel()
            client = boto3.client("ivs", config=ONE_ATTEMPT)
            assert len(client.list_channels()["channels"]) == number + 1
            client.close()


def test_the_inner_one_of_two_accounts_is_used_and_then_the_outer_one(ivs: LocalIVS) -> None:
    with ivs.new_account() as outer:
        with ivs.new_account() as inner:
            assert os.environ["AWS_ACCESS_KEY_ID"] == inner.access_key_id
            assert ivs.credentials[MOTO_ACCESS_KEY[0]].account == inner.account_id
        assert os.environ["AWS_ACCESS_KEY_ID"] == outer.access_key_id
        assert ivs.credentials[MOTO_ACCESS_KEY[0]].account == outer.account_id


def test_an_account_that_is_entered_twice_is_open_until_its_outer_block_ends(ivs: LocalIVS) -> None:
    before = dict(os.environ)
    with ivs.new_account() as account:
        client = account.client()
        with account:
            account.create_channel()
        assert os.environ["AWS_ACCESS_KEY_ID"] == account.access_key_id
        assert len(client.list_channels()["channels"]) == 1
        account.close()
        assert dict(os.environ) == before
    assert account.access_key_id not in ivs.credentials
    assert dict(os.environ) == before


def test_no_repr_shows_a_secret(ivs: LocalIVS) -> None:
    with ivs.new_account() as account:
        pair = account.create_key_pair()
        shown = f"{account!r} {ivs!r} {pair!r} {account.create_channel()!r}"
    assert account.secret_access_key not in shown
    assert pair.private_key.splitlines()[1] not in shown
    assert account.account_id in shown


def test_a_channel_is_found_by_its_name(ivs: LocalIVS) -> None:
    account = ivs.new_account()
    created = account.create_channel("main", authorized=False, live=False, type="BASIC")
    assert account.channel("main") == created
    with pytest.raises(LookupError, match="has no channel 'other' in us-east-1"):
        account.channel("other")


def test_streams_start_and_stop(ivs: LocalIVS) -> None:
    account = ivs.new_account()
    channel = account.create_channel(authorized=False, live=False)
    assert ivs.edge.open(channel.playback_url).status == 404
    account.start_stream(channel.arn)
    assert ivs.edge.open(channel.playback_url).status == 200
    account.stop_stream(channel.arn)
    assert ivs.edge.open(channel.playback_url).status == 404
    with pytest.raises(IvsError, match="ChannelNotBroadcasting"):
        account.stop_stream(channel.arn)


def test_a_seed_file_is_for_the_account_that_it_is_given_to(tmp_path: Path) -> None:
    seed = tmp_path / "channels.toml"
    seed.write_text("[channels.main]\nauthorized = true\nlive = true\n")
    with LocalIVS(seed=seed, region="eu-west-1") as ivs:
        first, second, third = ivs.account, ivs.new_account(seed=str(seed)), ivs.new_account()
        assert first.channel("main").arn != second.channel("main").arn
        assert ":eu-west-1:" in first.channel("main").arn
        assert ivs.edge.open(first.channel("main").playback_url).rule == "segments"
        with pytest.raises(LookupError):
            third.channel("main")


def test_a_channel_in_the_region_that_a_seed_file_names_is_found(tmp_path: Path, ivs: LocalIVS) -> None:
    seed = tmp_path / "channels.toml"
    seed.write_text('region = "eu-west-1"\n[channels.main]\n')
    account = ivs.new_account(seed=seed)
    assert ":eu-west-1:" in account.channel("main", region="eu-west-1").arn
    with pytest.raises(LookupError, match="in us-east-1"):
        account.channel("main")


def test_with_a_bad_seed_file_nothing_starts(tmp_path: Path) -> None:
    seed, threads = tmp_path / "channels.toml", set(threading.enumerate())
    seed.write_text("[channel.main]\n")
    with pytest.raises(SettingsError, match="not a known field"), LocalIVS(seed=seed):
        pass
    assert set(threading.enumerate()) <= threads


def test_rate_limits_are_enforced_on_request_only(ivs: LocalIVS) -> None:
    unlimited = ivs.account.client(config=ONE_ATTEMPT)
    for _ in range(6):
        unlimited.create_channel()
    with LocalIVS(rate_limits=True) as limited:
        client = limited.account.client(config=ONE_ATTEMPT)
        for number in range(5):
            client.create_channel(name=f"c{number}")
        with pytest.raises(ClientError, match="ThrottlingException"):
            deque((client.create_channel() for _ in range(50)), maxlen=0)  # many, because the bucket refills meanwhile


def test_a_fault_makes_calls_of_clients_fail(ivs: LocalIVS) -> None:
    account = ivs.new_account()
    client = account.client(config=ONE_ATTEMPT)
    ivs.faults.inject("throttle", "ListChannels", count=1)
    with pytest.raises(client.exceptions.ThrottlingException):
        client.list_channels()
    assert client.list_channels()["channels"] == []
    ivs.faults.inject("error")
    account.create_channel()
    ivs.faults.clear()
    assert len(client.list_channels()["channels"]) == 1


def test_an_invalid_fault_is_refused_by_the_names_of_its_fields(ivs: LocalIVS) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ivs.faults.inject("delay", "NoOperation")
    assert [error.field for error in refused.value.errors] == ["operation", "delaySeconds"]


def test_the_clock_is_advanced_and_set_back(ivs: LocalIVS) -> None:
    before = ivs.clock.now()
    ivs.clock.advance(3600)
    assert ivs.clock.now() >= before + 3600
    ivs.clock.reset()
    assert before <= ivs.clock.now() < before + 3600


def test_no_call_is_throttled_because_of_those_before_the_clock_was_set_back() -> None:
    with LocalIVS(rate_limits=True) as ivs, ivs.new_account() as account:
        channel = account.create_channel()
        ivs.clock.advance(600)
        client = account.client(config=ONE_ATTEMPT)
        for _ in range(5):
            client.get_channel(arn=channel.arn)
        ivs.clock.reset()
        assert client.get_channel(arn=channel.arn)["channel"]["arn"] == channel.arn
