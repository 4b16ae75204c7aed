"""Writes log lines from a bounded queue in one thread.

Invariants
- Logging never waits for the reader of the log: a line is appended to the queue, and only the thread writes. No lock is
  held during a write.
- The queue is bounded in lines and characters. A line that does not fit or cannot be written is dropped and counted by
  reason. The log reports the count as soon as lines can be written again; metrics get it from `take_dropped`.
- Routine lines (one for each request) never use the capacity that is reserved for all others.
- `put` is reentrant: a signal handler or a finalizer may log while its own thread is logging.
- `flush` waits for a bounded time only. The thread is a daemon that writes to a duplicate of the descriptor, so a write
  that never returns neither keeps the process from exiting nor keeps `sys.stderr` locked.
- A forked child starts with an empty queue and its own thread; the parent writes what was queued before the fork.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TextIO

INTERVAL_SECONDS = 0.25
"""How often routine lines are written. Any other line wakes the thread."""
LINES_PER_WRITE = 100
"""Rendering this many takes a fifth of a millisecond, during which no token is signed."""
PAUSE_SECONDS = 0.001
ROUTINE_LINES_MAX = 50_000
RESERVED_LINES = 10_000
CHARACTERS_MAX = 8 * 1024 * 1024
"""The limit for lines that are not routine; routine lines are small."""
REPORT_INTERVAL_SECONDS = 1.0

Sink = Callable[[memoryview], int]
"""Writes some of the bytes and returns how many. Raises OSError or ValueError."""
Render = Callable[[Sequence[Any]], str]
"""Renders routine entries as text, one line each."""


class LogWriter:
    """A queue of lines, and the thread that writes them."""

    def __init__(
        self,
        sink: Sink,
        report: Callable[[Mapping[str, int]], str],
        *,
        routine_lines_max: int = ROUTINE_LINES_MAX,
        reserved_lines: int = RESERVED_LINES,
        characters_max: int = CHARACTERS_MAX,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.sink = sink
        self.report = report
        """Renders the line that reports how many lines were dropped, by reason."""
        self._routine_lines_max = routine_lines_max
        self._lines_max = routine_lines_max + reserved_lines
        self._characters_max = characters_max
        self._monotonic = monotonic
        self._pause = pause
        self._render: Render | None = None
        self._queue: deque[Any] = deque()
        self._is_mid_line = False
        self._reported_at = float("-inf")
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._queue.clear()
        self._characters = 0
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._is_woken = False
        self._is_flushing = False
        self._thread: threading.Thread | None = None
        self._unreported: Counter[str] = Counter()
        self._uncounted: Counter[str] = Counter()

    def after_fork_in_child(self) -> None:
        """Discard the parent's lines and thread."""
        self._reset()

    def queue_for(self, render: Render) -> Callable[[Any], None]:
        """A function that queues one routine entry (any type but str), which `render` turns into a line on the thread.

        It is on the hot path: one comparison and one append.
        """
        self._render = render
        self._wake()
        queue, append, limit, drop = self._queue, self._queue.append, self._routine_lines_max, self._drop

        def add(entry: Any) -> None:
            if len(queue) < limit:
                append(entry)
            else:
                drop("queue_full", 1)

        return add

    def put(self, text: str) -> None:
        """Queue one line, with its line feed."""
        with self._lock:
            fits = len(self._queue) < self._lines_max and self._characters + len(text) <= self._characters_max
            if fits:
                self._characters += len(text)
                self._queue.append(text)
        if not fits:
            self._drop("queue_full", 1)
        self._wake()

    def take_dropped(self) -> Mapping[str, int]:
        """The number of lines dropped since the last call, by reason."""
        with self._lock:
            taken, self._uncounted = self._uncounted, Counter()
        return taken

    def flush(self, within_seconds: float) -> bool:
        """Wait until everything queued is written and dropped lines are reported. Returns whether it was in time."""
        if self._thread is None and not self._queue and not self._unreported:
            return True
        done = threading.Event()
        self._is_flushing = True
        try:
            self._queue.append(done)
            self._wake()
            return done.wait(within_seconds)
        finally:
            self._is_flushing = False

    def start(self) -> None:
        """Start the thread unless it runs. If no thread can be started now, the next line tries again."""
        with self._lock, suppress(RuntimeError):
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                thread.start()
                self._thread = thread

    def write_queued(self) -> None:
        """Write what is queued now. The thread calls it; a test may call it instead."""
        left, flushed = len(self._queue), list[threading.Event]()
        while left > 0:
            size = min(left, LINES_PER_WRITE)
            left -= size
            text = self._take_text(size, flushed)
            if text:
                self._write(text)
            if left and not self._is_flushing:
                self._pause(PAUSE_SECONDS)  # let the signing thread run
        self._report_dropped(now=bool(flushed))
        for done in flushed:
            done.set()

    def _wake(self) -> None:
        if self._thread is None:
            self.start()
        if not self._is_woken:
            self._is_woken = True
            self._wakeups.put(None)

    def _run(self) -> None:
        while True:
            is_timed = self._render is not None or bool(self._unreported)
            with suppress(Empty):
                self._wakeups.get(timeout=INTERVAL_SECONDS if is_timed else None)
            self._is_woken = False
            self.write_queued()

    def _take_text(self, size: int, flushed: list[threading.Event]) -> str:
        """Remove the next entries from the queue and return their text."""
        parts, routine, characters = list[str](), list[Any](), 0
        for _ in range(size):
            entry = self._queue.popleft()
            if isinstance(entry, str):
                parts.append(self._render_routine(routine))
                parts.append(entry)
                routine, characters = [], characters + len(entry)
            elif isinstance(entry, threading.Event):
                flushed.append(entry)
            else:
                routine.append(entry)
        parts.append(self._render_routine(routine))
        with self._lock:
            self._characters -= characters
        return "".join(parts)

    def _render_routine(self, entries: Sequence[Any]) -> str:
        if not entries or self._render is None:
            return ""
        try:
            return self._render(entries)
        except Exception:  # noqa: BLE001 - an entry that cannot be rendered must not end the log
            self._drop("render_failed", len(entries))
            return ""

    def _write(self, text: str, *, counted: bool = True) -> bool:
        """Write all of the text. A line that a failed write cut off is terminated before the next one starts."""
        start = 1 if self._is_mid_line else 0
        data = memoryview(b"\n" * start + text.encode("utf-8", "backslashreplace"))
        sent = 0
        try:
            while sent < len(data):
                sent += self.sink(data[sent:]) or _nothing_written()
        except (OSError, ValueError):  # a full disk, a closed pipe or stream
            if counted:
                self._drop("write_failed", bytes(data[max(sent, start) :]).count(b"\n"))
        if sent:
            self._is_mid_line = data[sent - 1] != ord("\n")
        return sent == len(data)

    def _report_dropped(self, *, now: bool) -> None:
        if not self._unreported or (not now and self._monotonic() < self._reported_at + REPORT_INTERVAL_SECONDS):
            return
        self._reported_at = self._monotonic()
        with self._lock:
            reported = Counter(self._unreported)
        if self._write(self.report(reported), counted=False):
            with self._lock:
                self._unreported -= reported

    def _drop(self, reason: str, lines: int) -> None:
        with self._lock:
            self._unreported[reason] += lines
            self._uncounted[reason] += lines


class DescriptorSink:
    """Writes to a file descriptor, bypassing the buffers and locks of Python's own streams.

    A pipe gets whole lines of up to PIPE_BUF in one write, which the kernel keeps together (POSIX, `write`): several
    processes may share it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)

    def __call__(self, data: memoryview) -> int:
        if not self._is_file:
            data = _whole_lines(data)
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process that shares it made it non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()

    def close(self) -> None:
        os.close(self._descriptor)


def _whole_lines(data: memoryview) -> memoryview:
    """As many of the first lines as fit into PIPE_BUF; a part of the first one if it is longer."""
    if len(data) <= select.PIPE_BUF:
        return data
    end = bytes(data[: select.PIPE_BUF]).rfind(b"\n") + 1
    return data[: end or select.PIPE_BUF]


class StreamSink:
    """Writes to a text stream that has no file descriptor."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, data: memoryview) -> int:
        self._stream.write(bytes(data).decode())
        self._stream.flush()
        return len(data)


def no_sink(_data: memoryview) -> int:
    """The sink for a standard error that was closed before the process started."""
    raise OSError(errno.EBADF, "standard error is closed")


def _nothing_written() -> int:
    raise OSError(errno.EIO, "nothing was written")
