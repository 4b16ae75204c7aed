"""The channel directory when one caller asks for more than everybody else: no caller delays another for long, and what
is invented takes a bounded amount of memory and no row."""

from __future__ import annotations

import contextlib
import math
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.leases import ManualLeases
from tests.support.refresh_worker import CountingWorker
from tests.support.simulated_ivs import SimulatedIvs, outage
from tests.support.simulated_ivs import channel_arn as arn
from tests.tokens.conftest import Make
from tokensvc.deployment.versions import Position
from tokensvc.errors import ControlPlaneError
from tokensvc.storage.store import Store
from tokensvc.tokens import channel_cache as module
from tokensvc.tokens.channel_cache import (
    CHANNELS_PER_CALL,
    DUE_INTERVAL_SECONDS,
    NOT_FOUND_SECONDS,
    PENDING_MAX,
    PENDING_PER_CALLER_MAX,
    RECENT_MAX,
    RECHECK_SECONDS,
    RECHECKS_PER_CALL,
    ChannelCache,
)
from tokensvc.tokens.snapshot import KnownChannel

pytestmark = pytest.mark.slow

INVENTED = 12_000
NEW = arn(900_000)
"""Another caller's channel, made just now."""


def turn(directory: ChannelCache, clock: ManualClock) -> None:
    """One BatchGetChannel call's time."""
    directory.run_once()
    clock.advance(1)


def has_url(question: Future[KnownChannel | None]) -> bool:
    known = question.result(0) if question.done() else None
    return known is not None and known.playback_url is not None


def test_another_callers_new_channel_is_found_in_the_next_call_during_a_flood(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([NEW])
    for number in range(INVENTED):
        directory.look_up(arn(number), "flood")
    for number in range(20):
        turn(directory, clock)
        directory.look_up(arn(INVENTED + number), "flood")
    question, _ = directory.look_up(NEW, "shop")
    turn(directory, clock)
    assert has_url(question)


def test_it_is_found_within_a_few_calls_when_every_worker_is_flooded(
    make: Make, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([NEW])
    workers = [make() for _ in range(4)]
    for worker in workers:
        for number in range(INVENTED):
            worker.look_up(arn(number), "flood")
    question, _ = workers[-1].look_up(NEW, "shop")
    for number in range(2 * len(workers)):
        for worker in workers[number % 4 :] + workers[: number % 4]:  # the first of them has the turn
            worker.run_once()
        clock.advance(1)
    assert has_url(question)


def test_a_channel_that_another_caller_asked_for_first_is_found_in_its_own_callers_turn(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    """Otherwise a caller could delay the others' channels by naming them at the end of its own queue."""
    ivs.add_channels([NEW])
    for number in range(PENDING_PER_CALLER_MAX - 1):
        directory.look_up(arn(number), "flood")
    first, _ = directory.look_up(NEW, "flood")
    second, _ = directory.look_up(NEW, "shop")
    assert first is second
    turn(directory, clock)
    assert has_url(second)


def test_many_callers_have_one_channel_each_before_any_has_another(
    directory: ChannelCache, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    callers = 120
    for caller in range(callers):
        for number in range(3):
            directory.look_up(arn(1000 * caller + number), f"caller{caller}")
    calls = math.ceil(callers / CHANNELS_PER_CALL)
    for _ in range(calls):
        turn(directory, clock)
    asked = [a for request in ivs.asked("BatchGetChannel") for a in request["arns"]]
    assert {arn(1000 * caller) for caller in range(callers)} <= set(asked)
    assert len(asked) == calls * CHANNELS_PER_CALL, "no place is left free"


def test_a_callers_queue_is_bounded_and_what_is_beyond_it_does_not_wait(directory: ChannelCache) -> None:
    for number in range(PENDING_PER_CALLER_MAX):
        assert not directory.look_up(arn(number), "flood")[0].done()
    question, seconds = directory.look_up(arn(INVENTED), "flood")
    assert (question.result(0), seconds) == (None, 0)
    assert directory.look_up(arn(5), "flood")[1] > 0, "what was asked before still waits"
    assert not directory.look_up(arn(INVENTED), "shop")[0].done()


def test_where_all_queues_together_are_full_the_longest_makes_room(directory: ChannelCache) -> None:
    callers = PENDING_MAX // PENDING_PER_CALLER_MAX
    questions = [
        directory.look_up(arn(1000 * caller + number), f"caller{caller}")[0]
        for caller in range(callers)
        for number in range(PENDING_PER_CALLER_MAX)
    ]
    assert not any(question.done() for question in questions)
    new, _ = directory.look_up(NEW, "shop")
    assert not new.done()
    [dropped] = [number for number, question in enumerate(questions) if question.done()]
    assert dropped % PENDING_PER_CALLER_MAX == PENDING_PER_CALLER_MAX - 1, "the newest of a queue"
    assert questions[dropped].result(0) is None
    assert len(directory._pending) == PENDING_MAX
    refused, _ = directory.look_up(arn(800_000), "caller1")
    assert refused.result(0) is None, "a caller with a full queue gets no more room"


def test_known_channels_are_looked_at_again_during_a_flood(
    directory: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock
) -> None:
    known = [arn(700_000 + number) for number in range(30)]
    ivs.add_channels(known)
    for known_arn in known:
        directory.look_up(known_arn, "shop")
    turn(directory, clock)
    for known_arn in known:
        ivs.channels[known_arn]["playbackUrl"] = "https://moved.test/a.m3u8"
    clock.advance(RECHECK_SECONDS)
    for number in range(PENDING_PER_CALLER_MAX):
        directory.look_up(arn(number), "flood")
    before = len(ivs.calls)
    for _ in range(3):
        turn(directory, clock)
    assert {row.playback_url for row in store.channels.get(known)} == {"https://moved.test/a.m3u8"}
    for request in ivs.asked("BatchGetChannel")[before:]:
        assert len(request["arns"]) == CHANNELS_PER_CALL
        assert len(set(request["arns"]) & set(known)) == RECHECKS_PER_CALL


def test_unknown_channels_are_found_while_thousands_of_known_ones_are_due(
    directory: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock
) -> None:
    known = [arn(700_000 + number) for number in range(2_000)]
    ivs.add_channels([*known, *(arn(number) for number in range(40))])
    for start in range(0, len(known), PENDING_PER_CALLER_MAX):
        for known_arn in known[start : start + PENDING_PER_CALLER_MAX]:
            directory.look_up(known_arn, "shop")
        for _ in range(PENDING_PER_CALLER_MAX // CHANNELS_PER_CALL):
            turn(directory, clock)
    clock.advance(RECHECK_SECONDS)
    questions = [directory.look_up(arn(number), "shop")[0] for number in range(40)]
    turn(directory, clock)
    assert all(has_url(question) for question in questions)
    assert len(ivs.asked("BatchGetChannel")[-1]["arns"]) == CHANNELS_PER_CALL, "the rest was for known ones"


def test_two_workers_do_not_both_look_at_a_known_channel_again(
    make: Make, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    ivs.add_channels([arn(number) for number in range(20)])
    one, other = make(), make()
    for number in range(20):
        one.look_up(arn(number), "shop")
    turn(one, clock)
    clock.advance(RECHECK_SECONDS)
    other._read_due()
    turn(one, clock)
    turn(other, clock)
    assert [len(request["arns"]) for request in ivs.asked("BatchGetChannel")] == [20, 20]


def test_the_known_channels_of_a_region_that_is_down_take_no_others_place(
    directory: ChannelCache, ivs: SimulatedIvs, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DUE_MAX", 10)
    here = [arn(number, "eu-west-1") for number in range(5)]
    down = [arn(number) for number in range(20)]
    ivs.add_channels([*here, *down])
    for known in (down, here):  # those of the region that is down were looked at longer ago
        for known_arn in known:
            directory.look_up(known_arn, "shop")
        turn(directory, clock)
    clock.advance(RECHECK_SECONDS)
    ivs.refuse["us-east-1"] = outage()
    ivs.calls.clear()
    for _ in range(int(3 * DUE_INTERVAL_SECONDS)):
        with contextlib.suppress(ControlPlaneError):
            turn(directory, clock)
    assert {a for region, _, request in ivs.calls if region == "eu-west-1" for a in request["arns"]} == set(here)


def test_what_a_caller_invents_leaves_no_row_and_fills_no_snapshot(
    migrated: Path, tmp_path: Path, ivs: SimulatedIvs, clock: ManualClock
) -> None:
    """Four minutes of a flood, in which IVS is asked about as many invented channels."""
    stage = InMemoryDeployment(migrated, tmp_path / "keys")
    store = stage.store
    clock.wall = store.versions.read().now
    worker = CountingWorker(stage, clock)
    directory = ChannelCache(
        store=store.channels,
        leases=ManualLeases(clock),
        control_plane=ivs,
        clock=clock,
        lookup_timeout_seconds=0.3,
        calls_per_second=1,
    )
    ivs.add_channels([NEW])
    directory.look_up(NEW, "shop")
    for second in range(INVENTED // CHANNELS_PER_CALL):
        for number in range(60):
            directory.look_up(arn(60 * second + number), "flood")
        turn(directory, clock)
        assert len(directory._recent) <= CHANNELS_PER_CALL * (NOT_FOUND_SECONDS + 1) <= RECENT_MAX
        assert len(directory._pending) <= PENDING_PER_CALLER_MAX
    worker.refresh.run_once()
    assert list(worker.refresh.current.channels) == [NEW]
    assert [row.arn for row in store.channels.changed_since(Position(), 10).rows] == [NEW]
    assert store.versions.read().channels.number == 1, "and no worker read anything because of it"


def test_memory_of_absent_channels_is_bounded_whatever_the_rate(store: Store, clock: ManualClock) -> None:
    ivs = SimulatedIvs()
    directory = ChannelCache(
        store=store.channels,
        leases=ManualLeases(clock),
        control_plane=ivs,
        clock=clock,
        lookup_timeout_seconds=0.3,
        calls_per_second=1000,
    )
    for number in range(RECENT_MAX + 500):
        directory.look_up(arn(number), "flood")
        if number % CHANNELS_PER_CALL == 0:
            directory.run_once()
            clock.advance(0.001)
    assert len(directory._recent) <= RECENT_MAX


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 30), st.integers(0, 4), st.sampled_from(["us-east-1", "eu-west-1"])),
            st.sampled_from(["turn", "outage"]),
        ),
        max_size=80,
    )
)
def test_whatever_is_asked_in_whatever_order_everyone_has_an_answer_and_no_queue_keeps_anything(
    store: Store, monkeypatch: pytest.MonkeyPatch, events: list[tuple[int, int, str] | str]
) -> None:
    with monkeypatch.context() as patched:
        for name, bound in {"PENDING_MAX": 12, "PENDING_PER_CALLER_MAX": 5, "CHANNELS_PER_CALL": 3}.items():
            patched.setattr(module, name, bound)
        clock, ivs = ManualClock(), SimulatedIvs()
        ivs.add_channels(arn(number, region) for number in range(0, 30, 2) for region in ("us-east-1", "eu-west-1"))
        directory = ChannelCache(
            store=store.channels,
            leases=ManualLeases(clock),
            control_plane=ivs,
            clock=clock,
            lookup_timeout_seconds=0.3,
            calls_per_second=1,
        )
        questions = []
        for event in events:
            if isinstance(event, tuple):
                number, caller, region = event
                questions.append(directory.look_up(arn(number, region), f"caller{caller}")[0])
                sizes = [queues.size for queues in directory._queues.values()]
                assert sum(sizes) == sum(len(question.callers) for question in directory._pending.values()) <= 12
            else:
                ivs.lose = {"BatchGetChannel": "before"} if event == "outage" else {}
                with contextlib.suppress(ControlPlaneError):
                    turn(directory, clock)
        for _ in range(20):
            with contextlib.suppress(ControlPlaneError):
                turn(directory, clock)
        assert all(question.done() for question in questions)
        assert not directory._pending
        assert not any(queues.by_caller or queues.size for queues in directory._queues.values())
