"""The files in which workers share their metrics: how they are read, and merged when a worker has ended.

Each worker has a file for each kind of metric, `counter_<pid>.db` for example; the client library writes and reads
them. It never removes those of counters and histograms, so a worker that is restarted again and again would fill the
disk, and each scrape would read more files.

Invariants
- What an ended worker has counted is added to the file of all ended workers, and its own file is removed: the sums of a
  scrape stay the same, and there are never more files than workers, plus one for each kind.
- One lock orders merging and reading, so that a scrape counts nothing twice or not at all. Writing takes no lock: a
  worker writes to its own files only, and a file that it has just created, without a header, is not read yet.
- A file that cannot be read is removed without being counted: the parent of the workers must not fail.
- Live gauges of an ended worker are removed: they describe a process that does not exist.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

LOCK_FILE = "files.lock"
ENDED = "ended"
"""Stands for a process id in the names of the files of all ended workers."""
_KINDS = ("counter", "histogram")


class WorkerFilesCollector(Collector):
    """The metrics of all workers, live and ended."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Read the files."""
        with _locked(self._directory, fcntl.LOCK_SH):
            files = [str(path) for path in self._directory.glob("*.db") if path.stat().st_size]
            metrics: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # the library has no types here
            return list(metrics)


def forget_process(directory: Path, pid: int | None) -> None:
    """Merge the files of a worker process that has ended."""
    with _locked(directory, fcntl.LOCK_EX):
        multiprocess.mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call] # as above
        for kind in _KINDS:
            ended = directory / f"{kind}_{pid}.db"
            if ended.exists():
                with suppress(
                    OSError, RuntimeError, ValueError, struct.error
                ):  # it was killed while it created the file
                    _add(ended, directory / f"{kind}_{ENDED}.db")
                ended.unlink()


def _add(source: Path, target: Path) -> None:
    """Add the values of one file to those of another."""
    sums: Any = MmapedDict(str(target))  # type: ignore[no-untyped-call] # as above
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call] # as above
            sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    finally:
        sums.close()


@contextmanager
def _locked(directory: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
