"""tokensvc on uvloop's own server, which accepts one connection per event-loop iteration (without `web/acceptor.py`).

Otherwise `python -m benchmarks.peers.one_accept serve` is `tokensvc serve`.
"""

from __future__ import annotations

import uvicorn

from tokensvc.cli import main
from tokensvc.web import server


class OneAccept(server.Server):
    """Starts listening and stops as uvicorn does."""

    startup = uvicorn.Server.startup
    shutdown = uvicorn.Server.shutdown


if __name__ == "__main__":
    server.Server = OneAccept  # type: ignore[misc] # `make_server` looks the class up here
    main()
