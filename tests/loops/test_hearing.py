"""What moves the other duties, and what does not."""

from __future__ import annotations

from tokensvc.loops.hearing import NOTHING_HEARD, Hearing
from tokensvc.ports.versions import StoreVersions

FIRST = StoreVersions(now=1, deployment=1, keys=1, callers=1, channels=1)


def told(hearing: Hearing, versions: StoreVersions) -> int:
    """How many listeners are told."""
    calls: list[int] = []
    hearing.listeners[:] = [lambda: calls.append(1), lambda: calls.append(2)]
    hearing.hear(versions)
    return len(calls)


def test_everybody_is_told_of_keys_and_limits_once() -> None:
    hearing = Hearing()
    assert hearing.heard == NOTHING_HEARD
    assert told(hearing, FIRST) == 2
    assert told(hearing, FIRST._replace(now=2)) == 0
    assert told(hearing, FIRST._replace(keys=2)) == 2
    assert told(hearing, FIRST._replace(keys=2, deployment=2)) == 2
    assert told(hearing, FIRST._replace(keys=2, deployment=2)) == 0


def test_callers_and_channels_are_none_of_their_business() -> None:
    hearing = Hearing()
    hearing.hear(FIRST)
    assert told(hearing, FIRST._replace(callers=9, channels=9)) == 0
    assert hearing.heard.callers == 9


def test_a_change_of_denials_is_told_to_those_whom_it_concerns() -> None:
    hearing = Hearing()
    hearing.hear(FIRST)
    calls: list[str] = []
    hearing.of_denials.append(lambda: calls.append("denials"))
    assert told(hearing, FIRST._replace(denials=5)) == 0
    assert told(hearing, FIRST._replace(denials=5, keys=2)) == 2
    assert calls == ["denials"]
