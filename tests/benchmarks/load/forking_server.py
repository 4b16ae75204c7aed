"""A prefork server in a process of its own: `python forking_server.py {parent-listens|parent-closes} WORKERS`.

Invariants
- The workers share one listening socket, use CPU continuously, and are replaced when they die.
- With `parent-closes` the parent closes its copy of the socket, so only the workers hold it.
- The port is printed first, then the pid of each worker, and the pid of each replacement when it starts.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def main(mode: str, workers: int) -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    pids = [_start() for _ in range(workers)]
    port = listener.getsockname()[1]
    if mode == "parent-closes":
        listener.close()
    print(port, *pids, sep="\n", flush=True)
    if mode == "parent-closes":
        signal.pause()
    while True:
        os.wait()
        print(_start(), flush=True)


def _start() -> int:
    pid = os.fork()
    while pid == 0:
        pass
    return pid


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
