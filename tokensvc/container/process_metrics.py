"""The standard metrics of processes (`process_…`) for each worker: CPU time, memory, file descriptors, start time.

Invariants
- The client library's own collector reads these of the one process that answers a scrape, and does nothing in its
  multiprocess mode. Here each worker writes its own, under its number: a worker that is restarted has the same number.
- CPU time is a counter: it continues where the worker's predecessor with this number has ended.
- What the system does not tell is not exported: `/proc` exists on Linux only.
"""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path

from tokensvc.container.metric_families import MetricFamilies

_SELF = Path("/proc/self")
_START_TIME_FIELD = 19
"""Of `/proc/self/stat`, counted from after the command's name (proc(5): field 22), in clock ticks since boot."""


class ProcessMetrics:
    """The metrics of this process."""

    def __init__(self, families: MetricFamilies, worker: int) -> None:
        number = str(worker)
        self._cpu_seconds = families.cpu_seconds.labels(number)
        self._resident_memory = families.resident_memory.labels(number)
        self._virtual_memory = families.virtual_memory.labels(number)
        self._open_fds = families.open_fds.labels(number)
        self._max_fds = families.max_fds.labels(number)
        self._counted_seconds = 0.0
        families.start_time.labels(number).set(_started_at())

    def sample(self) -> None:
        """Read the present values."""
        used = time.process_time()
        self._cpu_seconds.inc(max(0.0, used - self._counted_seconds))
        self._counted_seconds = used
        self._max_fds.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        with suppress(OSError, ValueError):
            virtual, resident = (_SELF / "statm").read_text().split()[:2]
            self._virtual_memory.set(int(virtual) * resource.getpagesize())
            self._resident_memory.set(int(resident) * resource.getpagesize())
            self._open_fds.set(len(os.listdir(_SELF / "fd")) - 1)  # noqa: PTH208 - without the one of this listing


def _started_at() -> float:
    """When this process started, in Unix time; about now if the system does not tell."""
    try:
        ticks = int((_SELF / "stat").read_text().rpartition(")")[2].split()[_START_TIME_FIELD])
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.time()
