"""Tells the other duties when the keys, the deployment's limits or who is denied changed in the store.

Rules of the file
- Whoever reads the version numbers about once a second passes them on; nobody is asked twice for them.
"""

from __future__ import annotations

from collections.abc import Callable

from tokensvc.errors import StoreReplaced
from tokensvc.logger import structlog
from tokensvc.ports.versions import NEVER_READ, StoreVersions, Versions

NOTHING_HEARD = StoreVersions(0, NEVER_READ, NEVER_READ, NEVER_READ, NEVER_READ, NEVER_READ)

_log = structlog.get_logger(__name__)


class Hearing:
    """What this process heard last, and who wants to know."""

    def __init__(self) -> None:
        self.heard = NOTHING_HEARD
        self.listeners: list[Callable[[], None]] = []
        """Called in the thread of whoever hears, when keys or limits changed; each returns at once."""
        self.of_denials: list[Callable[[], None]] = []
        """Likewise when denials did, as with each revocation."""
        self.of_replacement: list[Callable[[], None]] = []
        """Likewise when the store was replaced, or restored from a backup: before any of the others."""

    def follow(self, port: Versions) -> None:
        """Read the versions, and take them in: for a process that holds no snapshot. Raises StoreError."""
        versions = port.read()
        if versions[1:] != self.heard[1:]:
            try:
                port.check_history(self.heard.by_name())
            except StoreReplaced as replaced:
                log_replacement(replaced)
                self.store_was_replaced()
        self.hear(versions)

    def store_was_replaced(self) -> None:
        """Let everything be done again that the present store may know nothing of."""
        self.heard = NOTHING_HEARD
        for listener in self.of_replacement:
            listener()

    def hear(self, versions: StoreVersions) -> None:
        """Take in the numbers as they are now."""
        before, self.heard = self.heard, versions
        if (versions.keys, versions.deployment) != (before.keys, before.deployment):
            for listener in self.listeners:
                listener()
        if versions.denials != before.denials:
            for listener in self.of_denials:
                listener()


def log_replacement(replaced: StoreReplaced) -> None:
    """Once for each replacement that a process notices."""
    _log.warning("what was read from the store is no longer valid; everything is read anew", reason=replaced.message)
