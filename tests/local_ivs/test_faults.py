"""Injected faults occur as planned, and reproducibly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tokensvc.local_ivs.faults import Fault, FaultKind, Faults


def outcomes(fault: Fault, calls: int = 200, operation: str = "GetChannel") -> list[bool]:
    faults = Faults()
    faults.plan(fault)
    return [faults.draw(operation) is not None for _ in range(calls)]


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_the_same_seed_gives_the_same_outcomes(seed: int) -> None:
    fault = Fault(FaultKind.ERROR, rate=0.3, seed=seed)
    assert outcomes(fault) == outcomes(fault)
    assert 30 < sum(outcomes(fault)) < 90
    assert outcomes(fault) != outcomes(Fault(FaultKind.ERROR, rate=0.3, seed=seed + 1))


def test_rate_zero_never_fails_and_rate_one_always_fails() -> None:
    assert not any(outcomes(Fault(FaultKind.ERROR, rate=0)))
    assert all(outcomes(Fault(FaultKind.ERROR, rate=1)))


def test_a_fault_ends_after_its_count() -> None:
    assert outcomes(Fault(FaultKind.ERROR, count=3), 10) == [True] * 3 + [False] * 7
    assert sum(outcomes(Fault(FaultKind.ERROR, rate=0.5, count=7))) == 7


def test_a_fault_affects_only_its_operation() -> None:
    assert not any(outcomes(Fault(FaultKind.ERROR, "GetStream")))
    assert all(outcomes(Fault(FaultKind.ERROR, "GetStream"), operation="GetStream"))


def test_calls_of_other_operations_do_not_advance_the_random_generator() -> None:
    faults = Faults()
    faults.plan(Fault(FaultKind.ERROR, "GetChannel", rate=0.5, seed=3))
    mixed = []
    for _ in range(200):
        faults.draw("ListChannels")
        mixed.append(faults.draw("GetChannel") is not None)
    assert mixed == outcomes(Fault(FaultKind.ERROR, "GetChannel", rate=0.5, seed=3))


def test_the_first_planned_fault_that_applies_is_drawn() -> None:
    faults = Faults()
    first, second = Fault(FaultKind.THROTTLE, "GetChannel", count=1), Fault(FaultKind.ERROR)
    for fault in (first, second):
        faults.plan(fault)
    assert [faults.draw("GetChannel") for _ in range(2)] == [first, second]
    assert [(planned.number, planned.drawn) for planned in faults.planned()] == [(1, 1), (2, 1)]
    faults.clear()
    assert faults.draw("GetChannel") is None
    assert list(faults.planned()) == []


def test_a_count_is_exact_with_concurrent_calls() -> None:
    faults = Faults()
    faults.plan(Fault(FaultKind.ERROR, rate=0.9, count=25))
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda _: faults.draw("GetChannel"), range(400)))
    assert sum(fault is not None for fault in drawn) == 25


def test_entry_faults_affect_only_entries_and_call_faults_only_calls() -> None:
    faults = Faults()
    faults.plan(Fault(FaultKind.ENTRY_ERROR, rate=0.3))
    assert faults.draw("BatchStartViewerSessionRevocation") is None
    assert 30 < sum(faults.draw_entry("BatchStartViewerSessionRevocation") for _ in range(200)) < 90
    faults.clear()
    faults.plan(Fault(FaultKind.ERROR))
    assert not faults.draw_entry("BatchStartViewerSessionRevocation")
