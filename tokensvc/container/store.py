"""Opens the store that the settings name, and the stream of its audit records.

Invariants
- The stream's code is loaded only where `TOKENSVC_AUDIT_LOG` asks for one: most commands run without.
"""

from __future__ import annotations

from collections.abc import Callable

from tokensvc.metrics import Metrics
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store, open_store


def open_configured_store(settings: Settings) -> Store:
    """Open the store that the settings name. Raises StoreError, also if its schema is not this version's."""
    require(settings, "database_url")
    assert settings.database_url is not None  # noqa: S101 - `require` has just checked it
    store = open_store(settings.database_url.get_secret_value(), timeout_seconds=settings.store_timeout_seconds)
    _stream(settings, store, is_command=True)
    return store


def stream_audit(settings: Settings, store: Store, metrics: Metrics) -> None:
    """Stream the audit records of a process that serves, and count what is lost."""
    _stream(settings, store, is_command=False, on_lost=metrics.audit_lines_lost)


def _stream(
    settings: Settings, store: Store, *, is_command: bool, on_lost: Callable[[int], None] = lambda _count: None
) -> None:
    if settings.audit_log is None:
        return
    from tokensvc.container.audit_stream import stream_for
    from tokensvc.storage.audit import stream_records

    if (stream := stream_for(settings.audit_log, is_command=is_command, on_lost=on_lost)) is not None:
        stream_records(store.engine, stream.write)
