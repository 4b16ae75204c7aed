"""What moves the other duties, and what does not."""

from __future__ import annotations

from tokensvc.background.changes import NO_VERSIONS_READ, ChangeNotifier, KnownVersions
from tokensvc.deployment.versions import StoreVersions, Version

ONE, TWO = Version(1, "a"), Version(2, "b")
FIRST = StoreVersions(1, ONE, ONE, ONE, ONE, ONE)


class Process:
    """A notifier, and what it called."""

    def __init__(self) -> None:
        self.known = KnownVersions()
        self.calls: list[str] = []
        self.notifier = ChangeNotifier(
            self.known,
            on_keys_or_limits=[lambda: self.calls.append("first"), lambda: self.calls.append("second")],
            on_denials=[lambda: self.calls.append("denials")],
        )

    def told(self, versions: StoreVersions) -> list[str]:
        """Who is called, in order, when these versions were read."""
        self.calls.clear()
        self.notifier.update(versions)
        return self.calls[:]


def test_everybody_is_told_of_keys_and_limits_once() -> None:
    process = Process()
    assert process.known.current == NO_VERSIONS_READ
    assert process.told(FIRST) == ["first", "second", "denials"]
    assert process.told(FIRST._replace(now=2)) == []
    assert process.told(FIRST._replace(keys=TWO)) == ["first", "second"]
    assert process.told(FIRST._replace(keys=TWO, deployment=TWO)) == ["first", "second"]
    assert process.told(FIRST._replace(keys=TWO, deployment=TWO)) == []


def test_callers_and_channels_are_none_of_their_business() -> None:
    process = Process()
    process.told(FIRST)
    assert process.told(FIRST._replace(callers=TWO, channels=TWO)) == []
    assert process.known.current.callers == TWO


def test_a_replacement_is_told_before_anything_else() -> None:
    calls: list[str] = []
    known = KnownVersions()
    notifier = ChangeNotifier(
        known,
        on_keys_or_limits=[lambda: calls.append("keys")],
        on_replacement=[lambda: calls.append(f"replaced at {known.current.keys.number}")],
    )
    notifier.update(FIRST)
    notifier.notify_replaced()
    notifier.update(FIRST)
    assert calls == ["keys", f"replaced at {NO_VERSIONS_READ.keys.number}", "keys"]


def test_a_change_of_denials_is_told_to_those_whom_it_concerns() -> None:
    process = Process()
    process.told(FIRST)
    assert process.told(FIRST._replace(denials=TWO)) == ["denials"]
    assert process.told(FIRST._replace(denials=TWO, keys=TWO)) == ["first", "second"]
