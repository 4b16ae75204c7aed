"""Writes each audit record as a line of JSON to a stream of its own, after the store has committed it.

Invariants
- A record that cannot be written is lost for the stream only: the act is done and the store has its record. The loss is
  logged when it starts, and counted.
- A file is opened for each write, in append mode and readable by its owner only, so that it can be rotated and a
  directory that comes back is used. Lines of several processes do not mix: each batch is one write.
- A reader of a pipe that stops reading holds an act up for WAIT_SECONDS at most, also if the pipe is named by a path.
  One that nobody reads holds up nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import threading
from collections.abc import Callable, Iterator, Sequence

import orjson

from tokensvc.audit.record import AuditRecord
from tokensvc.audit.views import record_json
from tokensvc.log import structlog

STDOUT, STDERR = 1, 2
WAIT_SECONDS = 1.0
_PIPE_CHUNK_BYTES = 4096
"""A pipe that is ready takes this much without blocking (PIPE_BUF on Linux)."""
_log = structlog.get_logger(__name__)


class AuditStream:
    """A file, standard output or standard error."""

    def __init__(self, target: str | int, on_lost: Callable[[int], None] = lambda _count: None) -> None:
        """`target` is a path or a file descriptor; `on_lost` gets the number of records that were not written."""
        self._target = target
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._is_failing = False
        self._is_torn = False
        """Whether the last line may have been written in part."""

    def write(self, records: Sequence[AuditRecord]) -> None:
        """Write these records. Never raises OSError."""
        text = b"".join(map(_line, records))
        with self._lock:
            try:
                with self._opened() as descriptor:
                    self._write_all(descriptor, b"\n" + text if self._is_torn else text)
            except OSError as error:
                self._on_lost(len(records))
                if not self._is_failing:
                    _log.error("audit records are missing in the stream", error=type(error).__name__)
                self._is_failing = True
            else:
                self._is_failing = self._is_torn = False

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        if isinstance(self._target, int):
            yield self._target
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK  # the last for named pipes
        descriptor = os.open(self._target, flags, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _write_all(self, descriptor: int, text: bytes) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        remaining = memoryview(text)
        while remaining:
            if not is_file and not select.select([], [descriptor], [], WAIT_SECONDS)[1]:
                raise TimeoutError
            part = remaining if is_file else remaining[:_PIPE_CHUNK_BYTES]
            written = os.write(descriptor, part)
            remaining = remaining[written:]
            self._is_torn = bool(remaining)


def _line(record: AuditRecord) -> bytes:
    """The record as a line of ASCII: other characters could control the terminal of somebody who reads the file."""
    fields = record_json(record)
    line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    return line if line.isascii() else json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def stream_for(
    target: str | None, *, is_command: bool, on_lost: Callable[[int], None] = lambda _count: None
) -> AuditStream | None:
    """The stream that TOKENSVC_AUDIT_LOG names, if any. The standard output of a command is its result, so a command
    writes to standard error instead."""
    if target is None:
        return None
    descriptors = {"stdout": STDERR if is_command else STDOUT, "stderr": STDERR}
    return AuditStream(descriptors.get(target, target), on_lost)
