"""Starts the local IVS for `demo` and `ivs serve`.

Invariants
- It has its own database, never the service's. Its management listener is always on loopback.
- It states on every start that it is not AWS.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tokensvc.cli.output import print_progress
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.http import NOT_AWS, LocalIvsComponents, LocalIvsSettings, build, stored_clock
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.supervisor import bind_listener
from tokensvc.web.server import make_server


class RunningLocalIvs(NamedTuple):
    """A local IVS that is ready to be mounted, and the URL of its management listener."""

    components: LocalIvsComponents
    management_url: str


@contextmanager
def run_local_ivs(
    database: Path | None, settings: LocalIvsSettings, *, management_port: int
) -> Iterator[RunningLocalIvs]:
    """Open the local IVS (in memory if `database` is None) and serve its management listener until the block ends."""
    print_progress(NOT_AWS)
    print_progress(
        "IVS's rate limits are enforced; --no-rate-limits turns them off."
        if settings.rate_limits
        else "IVS's rate limits are off."
    )
    resources = SqliteResourceStore(str(database) if database else ":memory:")
    clock = stored_clock(resources, SystemClock())
    if clock.offset_seconds:
        print_progress(
            f"The local IVS's clock is {clock.offset_seconds:.0f} seconds ahead: {database} keeps an earlier advance."
        )
    components = build(resources, settings, clock)
    listener = bind_listener("--management-port", "127.0.0.1", management_port)
    server = make_server(components.management, lambda: None, delay_seconds=0)
    thread = threading.Thread(target=server.run, args=([listener],), name="management", daemon=True)
    thread.start()
    try:
        yield RunningLocalIvs(components, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        components.closing.set()
        server.should_exit = True
        thread.join(5)
        resources.close()
