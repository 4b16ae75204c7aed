"""CPU time and memory of the server's processes, if they run on this machine.

Invariants
- A server is every process that listens on the target's port, and all their descendants: a supervisor and its workers
  count together, whichever of them the system lists as the owner of a shared listening socket.
- The CPU time of a process that ended stays in the sum, as last read. A replaced worker thus loses at most what it used
  since the reading before its end, and the sum never decreases.
- Processes are looked up again at each reading, so replacements count; the listeners too, once one of them has ended.
- If the target is another machine, or its process is another user's, nothing is measured, and the report says so.
"""

from __future__ import annotations

import platform
from ipaddress import IPv6Address, ip_address

import psutil

from benchmarks.load.records import Reading
from benchmarks.load.wire import Target


class WatchedServer:
    """A server on this machine."""

    def __init__(self, port: int, roots: set[psutil.Process]) -> None:
        self.pid: int = min(root.pid for root in roots)
        self._port = port
        self._roots = roots
        self._cpu_seconds: dict[psutil.Process, float] = {}
        """By process, for all seen so far. psutil compares pid and start time, so a reused pid is another process."""

    def reading(self, second: int) -> Reading:
        """Its CPU time and memory now."""
        rss, alive = 0, 0
        for process in self._processes():
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:
                continue  # it has just ended
            self._cpu_seconds[process] = times.user + times.system
            rss += memory.rss
            alive += 1
        return Reading(
            server=f"{platform.node()} {self.pid}",
            second=second,
            cpu_seconds=sum(self._cpu_seconds.values()),
            rss_bytes=rss,
            processes=alive,
            ended=len(self._cpu_seconds) - alive,
        )

    def _processes(self) -> set[psutil.Process]:
        if not all(root.is_running() for root in self._roots):
            self._roots = _roots(self._port) or self._roots
        return {process for root in self._roots for process in (root, *_children(root, recursive=True))}


def find_server(target: Target) -> WatchedServer | None:
    """The server that listens on the target's port on this machine's loopback; None if there is no accessible one."""
    if not _is_loopback(target.host):
        return None
    roots = _roots(target.port)
    return WatchedServer(target.port, roots) if roots else None


def _roots(port: int) -> set[psutil.Process]:
    """The topmost processes that hold a listener on this port.

    The system's table names one owner for each socket although a supervisor and its workers share it, so the owner's
    ancestors and siblings are examined too.
    """
    try:
        owners = {one.pid for one in psutil.net_connections("tcp") if one.pid and _listens(one, port)}
    except psutil.Error:
        return set()
    tops = {top for pid in owners if (top := _topmost(pid, port)) is not None}
    siblings = {other for top in tops for other in _siblings(top) if _holds(other, port)}
    found = tops | siblings
    return {one for one in found if not found & set(_parents(one))}


def _topmost(pid: int, port: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    parents = _parents(process)
    return next((parent for parent in reversed(parents) if _holds(parent, port)), process)


def _siblings(process: psutil.Process) -> list[psutil.Process]:
    parents = _parents(process)
    return _children(parents[0], recursive=False) if parents else []


def _parents(process: psutil.Process) -> list[psutil.Process]:
    """From the parent upwards."""
    try:
        return list(process.parents())
    except psutil.Error:
        return []


def _children(process: psutil.Process, *, recursive: bool) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=recursive))
    except psutil.Error:
        return []


def _holds(process: psutil.Process, port: int) -> bool:
    try:
        return any(_listens(one, port) for one in process.net_connections("tcp"))
    except psutil.Error:  # another user's, or it has just ended
        return False


def _listens(one: psutil._common.pconn, port: int) -> bool:
    """Whether a connection is a listener that the loopback interface reaches."""
    if one.status != psutil.CONN_LISTEN or one.laddr.port != port:
        return False
    address = ip_address(one.laddr.ip)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
