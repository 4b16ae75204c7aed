"""Our service on uvloop's own server, which accepts one connection a turn of the loop: what `web/acceptor.py` replaces.

Everything else is as shipped: `python -m benchmarks.peers.one_accept serve` is `tokensvc serve` otherwise.
"""

from __future__ import annotations

import uvicorn

from tokensvc.cli import main
from tokensvc.web import server


class OneAccept(server.Server):
    """Starts to listen and stops as uvicorn does."""

    startup = uvicorn.Server.startup
    shutdown = uvicorn.Server.shutdown


if __name__ == "__main__":
    server.Server = OneAccept  # type: ignore[misc] # `make_server` makes what stands there
    main()
