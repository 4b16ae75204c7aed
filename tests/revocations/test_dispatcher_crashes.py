"""A dispatcher may be killed at any step: the next one delivers everything that was answered with 202."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.samples import make_due
from tests.support.crashes import Crash, CrashPoint
from tests.support.dispatchers import DispatchScenario
from tests.support.stores import store_in_memory
from tokensvc.local_ivs.faults import Fault, FaultKind
from tokensvc.revocations.model import Priority, RevocationState

pytestmark = pytest.mark.slow


@contextmanager
def dispatching(migrated: Path) -> Iterator[DispatchScenario]:
    store = store_in_memory(migrated)
    dispatch = DispatchScenario(store)
    try:
        yield dispatch
    finally:
        dispatch.close()
        store.close()


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_crash_at_any_step_loses_nothing(after: bool, migrated: Path) -> None:
    crashes = 0
    for at in itertools.count():
        with dispatching(migrated) as dispatch:
            names = dispatch.accept([f"v{number}" for number in range(45)])
            for number in range(3):
                names += dispatch.accept([f"a{number}"], Priority.INTERACTIVE)
            try:
                dispatch.run(dispatch.dispatcher(crash_point=CrashPoint(at, after=after)), 1.5)
            except Crash:
                crashes += 1
            else:
                break
            dispatch.drain(dispatch.dispatcher())
            assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
            assert max(dispatch.ivs.delivered.values()) <= 2, "sent again at most once"
            dispatch.check_nothing_lost()
    assert crashes >= 10, "every step was tried"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.integers(1, 30)),
        st.tuples(st.just("alone"), st.integers(0, 9)),
        st.tuples(st.just("killed"), st.integers(0, 25)),
        st.tuples(st.just("works"), st.integers(1, 3)),
        st.tuples(st.just("lapse"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, kind=st.sampled_from(FaultKind), rate=st.sampled_from([0.0, 0.3]), after=st.booleans())
def test_any_history_ends_with_everything_delivered(
    migrated: Path, steps: list[tuple[str, int]], kind: FaultKind, rate: float, after: bool
) -> None:
    """Bulk and single revocations of the same few viewers, dispatchers killed anywhere, and faults of the network."""
    with dispatching(migrated) as dispatch:
        dispatch.ivs.faults.plan(Fault(kind, rate=rate))
        dispatcher = dispatch.dispatcher()
        for step, number in steps:
            if step == "accept":
                dispatch.accept([f"v{n}" for n in range(number)])
            elif step == "alone":
                dispatch.accept([f"v{number}"], Priority.INTERACTIVE)
            elif step == "killed":
                with suppress(Crash):
                    dispatch.run(dispatch.dispatcher(crash_point=CrashPoint(number, after=after)), 2)
                dispatcher = dispatch.dispatcher()
            elif step == "works":
                dispatch.run(dispatcher, number)
            else:
                make_due(dispatch.store)
        dispatch.drain(dispatcher)
        dispatch.check_nothing_lost()
