"""Notifies the background tasks of a process when the keys, the deployment's limits or the denials in the store change.

Invariants
- Versions are read in one place, about once a second, and passed on here; no task reads them by itself.
- The callbacks are fixed when the notifier is made. A callback must return immediately: it runs in the thread that read
  the versions.
- A replacement of the store, or its restore from a backup, is notified first, before anything else is read from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokensvc.deployment.versions import NEVER_READ, StoreVersions, Versions
from tokensvc.errors import StoreReplaced
from tokensvc.log import structlog

NO_VERSIONS_READ = StoreVersions(0, NEVER_READ, NEVER_READ, NEVER_READ, NEVER_READ, NEVER_READ)

_log = structlog.get_logger(__name__)


class KnownVersions:
    """The versions of the store that this process acts on. The notifier writes them; heartbeats report them."""

    def __init__(self) -> None:
        self.current = NO_VERSIONS_READ


class ChangeNotifier:
    """Compares the store's versions with the previous ones and runs the callbacks for what changed."""

    def __init__(
        self,
        known: KnownVersions,
        *,
        on_keys_or_limits: Sequence[Callable[[], object]] = (),
        on_denials: Sequence[Callable[[], object]] = (),
        on_replacement: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`on_denials` also runs after each revocation, `on_replacement` after the store was replaced or restored."""
        self._known = known
        self._on_keys_or_limits = tuple(on_keys_or_limits)
        self._on_denials = tuple(on_denials)
        self._on_replacement = tuple(on_replacement)

    def poll(self, store_versions: Versions) -> None:
        """Read the versions and notify, in a process that holds no snapshot. Raises StoreError."""
        versions = store_versions.read()
        if versions[1:] != self._known.current[1:]:
            try:
                store_versions.check_history(self._known.current.by_name())
            except StoreReplaced as replaced:
                log_replacement(replaced)
                self.notify_replaced()
        self.update(versions)

    def notify_replaced(self) -> None:
        """Notify that the store was replaced, so that everything the new store may not contain is done again."""
        self._known.current = NO_VERSIONS_READ
        for callback in self._on_replacement:
            callback()

    def update(self, versions: StoreVersions) -> None:
        """Set the current versions and notify of what changed."""
        before, self._known.current = self._known.current, versions
        if (versions.keys, versions.deployment) != (before.keys, before.deployment):
            for callback in self._on_keys_or_limits:
                callback()
        if versions.denials != before.denials:
            for callback in self._on_denials:
                callback()


def log_replacement(replaced: StoreReplaced) -> None:
    """Log a replacement of the store that this process noticed."""
    _log.warning("the store was replaced or restored; reloading everything", reason=replaced.message)
