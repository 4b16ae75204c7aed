"""Writes each audit record as a line of JSON to a stream of its own, after the store has committed it.

Invariants
- A record that cannot be written is lost for the stream only: the act is done and the store has its record. So no
  failure is raised. The loss is logged when it starts, and counted.
- A file is opened for each write, in append mode and readable by its owner only, so that it can be rotated and a
  directory that comes back is used.
- Lines of several processes do not mix: a file gets each batch in one write, a pipe whole lines of up to PIPE_BUF
  together, which the kernel keeps together (POSIX, `write`). Only a line that is longer than that can be interrupted.
- A reader of a pipe that stops reading holds an act up for WAIT_SECONDS at most, and one more if another act waits
  before it; further acts not at all until it reads again. One that nobody reads holds up nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import orjson

from tokensvc.audit.record import AuditRecord
from tokensvc.audit.views import record_json
from tokensvc.log import structlog

STDOUT, STDERR = 1, 2
WAIT_SECONDS = 1.0
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
"""The last for named pipes."""
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
        """Write these records. Never raises: what they record is done."""
        unwritten: Sequence[AuditRecord] | deque[bytes] = records
        try:
            unwritten = lines = deque(map(_line, records))
            with self._locked(), self._opened() as descriptor:
                self._write_lines(descriptor, lines)
        except Exception as error:  # noqa: BLE001 - its caller would take the act for failed
            self._on_lost(len(unwritten))
            if not self._is_failing:
                _log.error("audit records are missing in the stream", error=type(error).__name__)
            self._is_failing = True
        else:
            self._is_failing = False

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise TimeoutError
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = _open_pipe(self._target) if isinstance(self._target, int) else os.open(self._target, _FLAGS, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _write_lines(self, descriptor: int, lines: deque[bytes]) -> None:
        """Write the lines, and remove from them what was written."""
        wait_seconds = 0.0 if self._is_failing else WAIT_SECONDS  # a reader that reads again makes the pipe ready
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        while lines:
            start = b"\n" if self._is_torn else b""
            count = len(lines) if is_file else _count_that_fit(lines, select.PIPE_BUF - len(start))
            together = start + b"".join(lines[position] for position in range(count))
            if is_file:
                self._write_to_file(descriptor, together)
            else:
                self._write_to_pipe(descriptor, together, wait_seconds)
                wait_seconds = WAIT_SECONDS
            for _ in range(count):
                lines.popleft()

    def _write_to_file(self, descriptor: int, text: bytes) -> None:
        remaining = memoryview(text)
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
            self._is_torn = bool(remaining)

    def _write_to_pipe(self, descriptor: int, text: bytes, wait_seconds: float) -> None:
        """A pipe that is ready takes PIPE_BUF bytes, unless another process was faster."""
        ends_at = time.monotonic() + wait_seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        remaining = memoryview(text)
        while remaining:
            if not poll.poll(max(0.0, ends_at - time.monotonic()) * 1000):
                raise TimeoutError
            try:
                remaining = remaining[os.write(descriptor, remaining[: select.PIPE_BUF]) :]
            except BlockingIOError:  # another process has filled it
                if time.monotonic() >= ends_at:
                    raise
                continue
            self._is_torn = bool(remaining)


def _open_pipe(descriptor: int) -> int:
    """A descriptor of the same pipe that does not block; others may rely on that the given one does. The same one, if
    it is no pipe or another user's, as in a container."""
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        with contextlib.suppress(OSError):
            return os.open(f"/dev/fd/{descriptor}", os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return os.dup(descriptor)


def _count_that_fit(lines: Sequence[bytes], size: int) -> int:
    """How many of the first lines have this size together; one at least."""
    count = 0
    for line in lines:
        size -= len(line)
        if size < 0:
            break
        count += 1
    return max(1, count)


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
