"""The server's processes, where they run on this machine: CPU time and memory.

Rules of the file
- A server is the process that listens on the target's port and all its children: workers count.
- Where the target is another machine, or its process is another user's, nothing is watched, and the report says so.
"""

from __future__ import annotations

import platform
from ipaddress import ip_address
from typing import NamedTuple

import psutil

from benchmarks.load.records import Reading
from benchmarks.load.wire import Target


class Watched(NamedTuple):
    """A local server."""

    pid: int

    def reading(self, second: int) -> Reading:
        """What it has used by now."""
        cpu, rss, processes = 0.0, 0, 0
        for process in self._all():
            try:
                times = process.cpu_times()
                rss += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # a worker that has just ended
            cpu += times.user + times.system
            processes += 1
        return Reading(
            server=f"{platform.node()} {self.pid}", second=second, cpu_seconds=cpu, rss_bytes=rss, processes=processes
        )

    def _all(self) -> list[psutil.Process]:
        try:
            server = psutil.Process(self.pid)
            return [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def find(target: Target) -> Watched | None:
    """Who listens on the target's port on this machine's loopback; None where nobody that we may see does."""
    if not _is_loopback(target.host):
        return None
    try:
        listeners = {
            socket.pid
            for socket in psutil.net_connections("tcp")
            if socket.status == psutil.CONN_LISTEN and socket.laddr.port == target.port and socket.pid
        }
    except psutil.AccessDenied:
        return None
    parents = {pid for pid in listeners if psutil.Process(pid).ppid() not in listeners}
    return Watched(min(parents)) if parents else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
