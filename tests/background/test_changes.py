"""Which changes of the store notify the background tasks, and which do not."""

from __future__ import annotations

from tokensvc.background.changes import NO_VERSIONS_READ, ChangeNotifier, KnownVersions
from tokensvc.deployment.versions import StoreVersions, Version

ONE, TWO = Version(1, "a"), Version(2, "b")
FIRST = StoreVersions(1, ONE, ONE, ONE, ONE, ONE)


class RecordingNotifier:
    """A notifier that records the callbacks that it runs."""

    def __init__(self) -> None:
        self.known = KnownVersions()
        self.calls: list[str] = []
        self.notifier = ChangeNotifier(
            self.known,
            on_keys_or_limits=[lambda: self.calls.append("first"), lambda: self.calls.append("second")],
            on_denials=[lambda: self.calls.append("denials")],
        )

    def calls_after(self, versions: StoreVersions) -> list[str]:
        """Update the versions; return the callbacks that this runs, in order."""
        self.calls.clear()
        self.notifier.update(versions)
        return self.calls[:]


def test_a_change_of_keys_or_limits_notifies_once() -> None:
    recording = RecordingNotifier()
    assert recording.known.current == NO_VERSIONS_READ
    assert recording.calls_after(FIRST) == ["first", "second", "denials"]
    assert recording.calls_after(FIRST._replace(now=2)) == []
    assert recording.calls_after(FIRST._replace(keys=TWO)) == ["first", "second"]
    assert recording.calls_after(FIRST._replace(keys=TWO, deployment=TWO)) == ["first", "second"]
    assert recording.calls_after(FIRST._replace(keys=TWO, deployment=TWO)) == []


def test_changes_of_callers_and_channels_run_no_callback() -> None:
    recording = RecordingNotifier()
    recording.calls_after(FIRST)
    assert recording.calls_after(FIRST._replace(callers=TWO, channels=TWO)) == []
    assert recording.known.current.callers == TWO


def test_a_replaced_store_runs_the_replacement_callback_first() -> None:
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


def test_a_change_of_denials_runs_only_the_callbacks_for_denials() -> None:
    recording = RecordingNotifier()
    recording.calls_after(FIRST)
    assert recording.calls_after(FIRST._replace(denials=TWO)) == ["denials"]
    assert recording.calls_after(FIRST._replace(denials=TWO, keys=TWO)) == ["first", "second"]
