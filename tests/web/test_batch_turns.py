"""Turns of batches: each caller with batches gets one slice in turn, and cancelled batches hold up nobody."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.errors import Overloaded
from tokensvc.web.batch_turns import MAX_OF_VIEWER, BatchTurns


class Batch(NamedTuple):
    """A batch of one caller: in which iteration of the event loop it arrives, and how many slices it has."""

    caller: str
    arrives: int
    slices: int
    cancelled_at: int | None = None
    """The iteration in which it is cancelled."""


class Slice(NamedTuple):
    """A slice that had its turn: its caller, and whose slices ran between its request and its turn."""

    caller: str
    waited_for: list[str]


class Run:
    """Runs batches as `TokenRoutes` does: each slice takes its turn, and ends it in the next iteration."""

    def __init__(self) -> None:
        self.turns = BatchTurns()
        self.slices: list[Slice] = []
        self.running = 0
        self._order: list[str] = []
        self._has_turn: str | None = None

    async def batch(self, batch: Batch) -> None:
        for _ in range(batch.slices):
            before = len(self._order) - (self._has_turn is not None)  # the slice that runs now is waited for, too
            async with self.turns.turn(batch.caller):
                assert self._has_turn is None, "two slices at once"
                self._has_turn = batch.caller
                self.slices.append(Slice(batch.caller, self._order[before:]))
                self._order.append(batch.caller)
                try:
                    await asyncio.sleep(0)
                finally:
                    self._has_turn = None

    async def all(self, batches: list[Batch]) -> None:
        tasks: list[tuple[Batch, asyncio.Task[None]]] = []
        last = max(max(batch.arrives, batch.cancelled_at or 0) for batch in batches)
        for iteration in range(last + 1):
            tasks += [
                (batch, asyncio.create_task(self.batch(batch))) for batch in batches if batch.arrives == iteration
            ]
            for batch, task in tasks:
                if batch.cancelled_at == iteration:
                    task.cancel()
            await asyncio.sleep(0)
        done, pending = await asyncio.wait([task for _, task in tasks], timeout=10)
        assert not pending, "a batch never had its turn"
        assert all(task.cancelled() or task.exception() is None for task in done)


batches = st.builds(
    Batch,
    caller=st.sampled_from("abcd"),
    arrives=st.integers(0, 12),
    slices=st.integers(1, 5),
    cancelled_at=st.none() | st.integers(0, 25),
)


@pytest.mark.slow
@given(st.lists(batches, min_size=1, max_size=20))
def test_a_slice_waits_for_at_most_one_slice_of_each_other_caller_between_two_of_its_own(arriving: list[Batch]) -> None:
    run = Run()
    asyncio.run(run.all(arriving))
    for slice_ in run.slices:
        others = Counter[str]()
        for caller in slice_.waited_for:
            if caller == slice_.caller:
                others.clear()
            else:
                others[caller] += 1
            assert max(others.values(), default=0) <= 1, slice_
    assert not run.turns._waiting, "no caller is remembered"
    assert run.turns._running is None


@pytest.mark.slow
@given(st.lists(batches.map(lambda batch: batch._replace(cancelled_at=None)), min_size=1, max_size=20))
def test_every_slice_has_its_turn(arriving: list[Batch]) -> None:
    run = Run()
    asyncio.run(run.all(arriving))
    expected = Counter[str]()
    for batch in arriving:
        expected[batch.caller] += batch.slices
    assert Counter(slice_.caller for slice_ in run.slices) == expected


def test_a_caller_with_one_batch_has_every_second_turn_beside_one_with_fifty() -> None:
    run = Run()
    asyncio.run(run.all([*[Batch("many", 0, 4)] * 50, Batch("one", 1, 4)]))
    order = [slice_.caller for slice_ in run.slices]
    first = order.index("one")
    assert first <= 2
    assert order[first : first + 8] == ["one", "many"] * 4


def test_batches_of_one_caller_have_their_turns_in_the_order_in_which_they_asked() -> None:
    async def run() -> list[int]:
        turns, order = BatchTurns(), list[int]()

        async def batch(number: int) -> None:
            for _ in range(2):
                async with turns.turn("a"):
                    order.append(number)
                    await asyncio.sleep(0)

        await asyncio.gather(*(batch(number) for number in range(3)))
        return order

    assert asyncio.run(run()) == [0, 1, 2, 0, 1, 2]


def test_a_batch_that_is_cancelled_as_it_is_given_its_turn_passes_it_on() -> None:
    async def run() -> list[str]:
        turns, order, release = BatchTurns(), list[str](), asyncio.Event()

        async def batch(caller: str) -> None:
            async with turns.turn(caller):
                order.append(caller)
                await release.wait()

        _first, given_to, next_ = (asyncio.create_task(batch(caller)) for caller in "abc")
        await asyncio.sleep(0)
        release.set()
        await asyncio.sleep(0)
        assert turns._running == "b", "it has been given the turn, and not yet run"
        given_to.cancel()
        await asyncio.wait([given_to, next_])
        return order

    assert asyncio.run(run()) == ["a", "c"]


def test_a_caller_has_a_bounded_number_of_batches_and_others_have_theirs() -> None:
    turns = BatchTurns(2)
    with turns.batch("a"):
        with turns.batch("a"):
            with pytest.raises(Overloaded, match="too many batches"), turns.batch("a"):
                pass
            with turns.batch("b"):
                pass
        with turns.batch("a"):
            pass
    assert not turns._batches, "no caller is remembered"


def test_a_batch_that_fails_in_its_turn_ends_it() -> None:
    async def run() -> None:
        turns = BatchTurns()
        try:
            async with turns.turn("a"):
                raise ValueError
        except ValueError:
            pass
        async with asyncio.timeout(5), turns.turn("b"):
            pass

    asyncio.run(run())


def test_a_viewer_has_a_few_of_its_app_s_batches_and_other_viewers_have_theirs() -> None:
    turns = BatchTurns(MAX_OF_VIEWER + 1)
    with ExitStack() as held:
        for _ in range(MAX_OF_VIEWER):
            held.enter_context(turns.batch("app", "ada"))
        with pytest.raises(Overloaded, match="this viewer has too many batches"), turns.batch("app", "ada"):
            pass
        held.enter_context(turns.batch("app", "bob"))
        with pytest.raises(Overloaded, match="this caller has too many batches"), turns.batch("app", "eve"):
            pass
    assert not turns._batches, "no caller and no viewer is remembered"
