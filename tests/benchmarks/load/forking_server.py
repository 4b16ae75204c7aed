"""A prefork server in a process of its own: `python forking_server.py {parent-listens|parent-closes} WORKERS`.

Rules of the file
- The workers share one listening socket, use CPU without end, and are replaced when they die.
- With `parent-closes` the parent closes its copy of the socket, so the workers alone hold it.
- Each worker's pid is printed as it starts, after the port.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def main(mode: str, workers: int) -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    for _ in range(workers):
        _start()
    if mode == "parent-closes":
        listener.close()
        signal.pause()
    while True:
        os.wait()
        _start()


def _start() -> None:
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
