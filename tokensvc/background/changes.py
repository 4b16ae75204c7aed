"""Notifies the background tasks of a process when the keys, the deployment's limits or the denials in the store change.

Invariants
- Whoever reads the version numbers about once a second passes them on here; no task reads them for itself.
- Who is notified is fixed when the notifier is made. A callback returns at once: it runs in the thread of whoever read
  the versions.
- When the store was replaced, or restored from a backup, that is notified first, before anything else is read from it.
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
    """Compares versions of the store with those before, and calls whom the difference concerns."""

    def __init__(
        self,
        known: KnownVersions,
        *,
        on_keys_or_limits: Sequence[Callable[[], object]] = (),
        on_denials: Sequence[Callable[[], object]] = (),
        on_replacement: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`on_denials` also hear of each revocation, `on_replacement` of a store that was replaced or restored."""
        self._known = known
        self._on_keys_or_limits = tuple(on_keys_or_limits)
        self._on_denials = tuple(on_denials)
        self._on_replacement = tuple(on_replacement)

    def poll(self, port: Versions) -> None:
        """Read the versions, and notify: for a process that holds no snapshot. Raises StoreError."""
        versions = port.read()
        if versions[1:] != self._known.current[1:]:
            try:
                port.check_history(self._known.current.by_name())
            except StoreReplaced as replaced:
                log_replacement(replaced)
                self.store_was_replaced()
        self.update(versions)

    def store_was_replaced(self) -> None:
        """Let everything be done again that the present store may know nothing of."""
        self._known.current = NO_VERSIONS_READ
        for callback in self._on_replacement:
            callback()

    def update(self, versions: StoreVersions) -> None:
        """Take these versions for the present ones, and notify of what changed."""
        before, self._known.current = self._known.current, versions
        if (versions.keys, versions.deployment) != (before.keys, before.deployment):
            for callback in self._on_keys_or_limits:
                callback()
        if versions.denials != before.denials:
            for callback in self._on_denials:
                callback()


def log_replacement(replaced: StoreReplaced) -> None:
    """Once for each replacement that a process notices."""
    _log.warning("what was read from the store is no longer valid; everything is read anew", reason=replaced.message)
