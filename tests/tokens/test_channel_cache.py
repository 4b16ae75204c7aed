"""The channel directory: asked once for all who wait, and at the deployment's pace."""

from __future__ import annotations

import itertools
import threading

import pytest

from tests.support.clocks import ManualClock
from tests.support.simulated_ivs import SimulatedIvs
from tests.support.simulated_ivs import channel_arn as arn
from tests.tokens.conftest import WAIT, Make
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import DUE_INTERVAL_SECONDS, RECHECK_SECONDS, ChannelCache


def test_an_unknown_channel_is_found(directory: ChannelCache, ivs: SimulatedIvs, store: Store) -> None:
    ivs.add_channels([arn(1)])
    question, seconds = directory.look_up(arn(1), "shop")
    assert not question.done()
    assert seconds == pytest.approx(WAIT)
    directory.run_once()
    known = question.result(0)
    assert known is not None
    assert (known.playback_url, known.authorized) == (ivs.channels[arn(1)]["playbackUrl"], True)
    assert [row.playback_url for row in store.channels.get([arn(1)])] == [known.playback_url]


def test_asking_pokes_whoever_finds_out(make: Make) -> None:
    poked = threading.Event()
    directory = make(wake=poked.set)
    directory.look_up(arn(1), "shop")
    assert poked.is_set()


def test_all_who_ask_share_one_question_and_one_call(directory: ChannelCache, ivs: SimulatedIvs) -> None:
    ivs.add_channels([arn(1)])
    ready, questions = threading.Barrier(8, timeout=5), []

    def ask() -> None:
        ready.wait()
        questions.append(directory.look_up(arn(1), "shop")[0])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    directory.run_once()
    assert len({id(question) for question in questions}) == 1
    assert ivs.asked("BatchGetChannel") == [{"arns": [arn(1)]}]


def test_the_deadline_is_the_first_ones_and_everyones(directory: ChannelCache, clock: ManualClock) -> None:
    assert directory.look_up(arn(1), "shop")[1] == pytest.approx(0.3)
    clock.advance(0.2)
    assert directory.look_up(arn(1), "shop")[1] == pytest.approx(0.1)
    assert directory.look_up(arn(2), "shop")[1] == pytest.approx(0.3), "another channel is another question"
    clock.advance(0.2)
    assert directory.look_up(arn(1), "shop")[1] == 0
    clock.advance(60)
    assert directory.look_up(arn(1), "shop")[1] == 0, "it goes on being asked, and nobody waits again"


def test_what_another_worker_found_is_taken_from_the_store(make: Make, ivs: SimulatedIvs) -> None:
    ivs.add_channels([arn(1)])
    one, other = make(), make()
    one.look_up(arn(1), "shop")
    one.run_once()
    question, _ = other.look_up(arn(1), "shop")
    other.run_once()
    assert question.result(0) is not None
    assert len(ivs.asked("BatchGetChannel")) == 1


def test_an_answer_is_remembered_until_every_refresh_has_it(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([arn(1)])
    directory.look_up(arn(1), "shop")
    directory.run_once()
    clock.advance(4)
    again, seconds = directory.look_up(arn(1), "shop")
    assert (again.result(0) is not None, seconds) == (True, 0)
    assert len(ivs.asked("BatchGetChannel")) == 1


def test_a_call_asks_about_50_channels_at_most_and_all_are_answered(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    everyone = [arn(n) for n in range(120)]
    ivs.add_channels(everyone)
    questions = [directory.look_up(a, "shop")[0] for a in everyone]
    for _ in range(3):
        directory.run_once()
        clock.advance(1)
    assert [len(request["arns"]) for request in ivs.asked("BatchGetChannel")] == [50, 50, 20]
    assert all(question.result(0) for question in questions)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_whole_deployment_makes_one_call_a_second_in_a_region(
    make: Make, ivs: SimulatedIvs, clock: ManualClock, workers: int
) -> None:
    directories = [make() for _ in range(workers)]
    called_at: list[float] = []
    number = 0
    for _ in range(100):
        for directory in directories:
            number += 1
            directory.look_up(arn(number), "shop")
            before = len(ivs.calls)
            directory.run_once()
            called_at += [clock.now()] * (len(ivs.calls) - before)
        clock.advance(0.1)
    assert 9 <= len(called_at) <= 10
    assert all(later - earlier >= 0.999 for earlier, later in itertools.pairwise(called_at))


def test_regions_have_a_pace_of_their_own(directory: ChannelCache, ivs: SimulatedIvs) -> None:
    for region in ("us-east-1", "eu-west-1"):
        directory.look_up(arn(1, region), "shop")
    directory.run_once()
    assert [region for region, _, _ in ivs.calls] == ["us-east-1", "eu-west-1"]


def test_the_pace_is_kept_through_the_store(make: Make, ivs: SimulatedIvs, store: Store) -> None:
    """As above, with the leases that serve."""
    one, other = make(store.leases), make(store.leases)
    for number, directory in enumerate((one, other, one, other)):
        directory.look_up(arn(number), "shop")
        directory.run_once()
    assert len(ivs.asked("BatchGetChannel")) == 1


def test_what_is_known_is_looked_at_again_in_the_background(
    directory: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock
) -> None:
    ivs.add_channels([arn(1), arn(2)])
    for number in (1, 2):
        directory.look_up(arn(number), "shop")
    directory.run_once()
    clock.advance(RECHECK_SECONDS - 1)
    directory.run_once()
    assert len(ivs.calls) == 1
    clock.advance(DUE_INTERVAL_SECONDS + 1)
    ivs.channels[arn(1)]["playbackUrl"] = "https://moved.test/a.m3u8"
    del ivs.channels[arn(2)]
    directory.run_once()
    assert {row.arn: row.playback_url for row in store.channels.get([arn(1), arn(2)])} == {
        arn(1): "https://moved.test/a.m3u8",
        arn(2): None,
    }
