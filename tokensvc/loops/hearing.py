"""Tells the other duties when the keys, the deployment's limits or who is denied changed in the store.

Rules of the file
- Whoever reads the version numbers about once a second passes them on; nobody is asked twice for them.
"""

from __future__ import annotations

from collections.abc import Callable

from tokensvc.ports.versions import StoreVersions

NOTHING_HEARD = StoreVersions(now=0, deployment=-1, keys=-1, callers=-1, channels=-1)


class Hearing:
    """What this process heard last, and who wants to know."""

    def __init__(self) -> None:
        self.heard = NOTHING_HEARD
        self.listeners: list[Callable[[], None]] = []
        """Called in the thread of whoever hears, when keys or limits changed; each returns at once."""
        self.of_denials: list[Callable[[], None]] = []
        """Likewise when denials did, as with each revocation."""

    def hear(self, versions: StoreVersions) -> None:
        """Take in the numbers as they are now."""
        before, self.heard = self.heard, versions
        if (versions.keys, versions.deployment) != (before.keys, before.deployment):
            for listener in self.listeners:
                listener()
        if versions.denials != before.denials:
            for listener in self.of_denials:
                listener()
