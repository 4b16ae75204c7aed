"""What moves the other duties, and what does not."""

from __future__ import annotations

from tokensvc.loops.hearing import NOTHING_HEARD, Hearing
from tokensvc.ports.versions import StoreVersions, Version

ONE, TWO = Version(1, "a"), Version(2, "b")
FIRST = StoreVersions(1, ONE, ONE, ONE, ONE, ONE)


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
    assert told(hearing, FIRST._replace(keys=TWO)) == 2
    assert told(hearing, FIRST._replace(keys=TWO, deployment=TWO)) == 2
    assert told(hearing, FIRST._replace(keys=TWO, deployment=TWO)) == 0


def test_callers_and_channels_are_none_of_their_business() -> None:
    hearing = Hearing()
    hearing.hear(FIRST)
    assert told(hearing, FIRST._replace(callers=TWO, channels=TWO)) == 0
    assert hearing.heard.callers == TWO


def test_a_change_of_denials_is_told_to_those_whom_it_concerns() -> None:
    hearing = Hearing()
    hearing.hear(FIRST)
    calls: list[str] = []
    hearing.of_denials.append(lambda: calls.append("denials"))
    assert told(hearing, FIRST._replace(denials=TWO)) == 0
    assert told(hearing, FIRST._replace(denials=TWO, keys=TWO)) == 2
    assert calls == ["denials"]
