"""Which changes notify the background tasks, and which do not."""

from __future__ import annotations

from tokensvc.background.changes import NO_VERSIONS_READ, ChangeNotifier, KnownVersions
from tokensvc.deployment.versions import StoreVersions, Version

ONE, TWO = Version(1, "a"), Version(2, "b")
FIRST = StoreVersions(1, ONE, ONE, ONE, ONE, ONE)


class Process:
    """A notifier, and the callbacks that it ran."""

    def __init__(self) -> None:
        self.known = KnownVersions()
        self.calls: list[str] = []
        self.notifier = ChangeNotifier(
            self.known,
            on_keys_or_limits=[lambda: self.calls.append("first"), lambda: self.calls.append("second")],
            on_denials=[lambda: self.calls.append("denials")],
        )

    def notified(self, versions: StoreVersions) -> list[str]:
        """The callbacks that these versions run, in order."""
        self.calls.clear()
        self.notifier.update(versions)
        return self.calls[:]


def test_a_change_of_keys_or_limits_notifies_once() -> None:
    process = Process()
    assert process.known.current == NO_VERSIONS_READ
    assert process.notified(FIRST) == ["first", "second", "denials"]
    assert process.notified(FIRST._replace(now=2)) == []
    assert process.notified(FIRST._replace(keys=TWO)) == ["first", "second"]
    assert process.notified(FIRST._replace(keys=TWO, deployment=TWO)) == ["first", "second"]
    assert process.notified(FIRST._replace(keys=TWO, deployment=TWO)) == []


def test_changes_of_callers_and_channels_notify_nobody() -> None:
    process = Process()
    process.notified(FIRST)
    assert process.notified(FIRST._replace(callers=TWO, channels=TWO)) == []
    assert process.known.current.callers == TWO


def test_a_replacement_is_notified_before_anything_else() -> None:
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


def test_a_change_of_denials_runs_only_the_denial_callbacks() -> None:
    process = Process()
    process.notified(FIRST)
    assert process.notified(FIRST._replace(denials=TWO)) == ["denials"]
    assert process.notified(FIRST._replace(denials=TWO, keys=TWO)) == ["first", "second"]
