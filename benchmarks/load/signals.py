"""SIGINT, SIGTERM and SIGHUP during a run: counted, so that no signal interrupts the code that collects figures.

Invariants
- The first stops the sending, the second the waiting for requests in flight, the third the command (KeyboardInterrupt).
- Code that waits for other descriptors waits for this one too: it becomes readable with each signal.
- A signal that was ignored before, as nohup ignores SIGHUP, stays ignored. Outside the main thread nothing is caught.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ENDS_THE_COMMAND = 3


class Interrupts:
    """The signals so far."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.count = 0
        self.first_at: float | None = None
        """On the monotonic clock."""

    def fileno(self) -> int:
        """A descriptor that is readable from a signal until `clear`."""
        return self._readable

    def clear(self) -> None:
        """Make the descriptor unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._readable, 4096)

    def add(self) -> None:
        """Count a signal. Raises KeyboardInterrupt on the third."""
        self.count += 1
        self.first_at = self.first_at or time.monotonic()
        if self.count >= _ENDS_THE_COMMAND:
            raise KeyboardInterrupt
        os.write(self._writable, b"!")

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)


@contextmanager
def caught() -> Iterator[Interrupts]:
    """Count signals instead of acting on them while the block runs."""
    interrupts = Interrupts()

    def count(_number: int, _frame: FrameType | None) -> None:
        interrupts.add()

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [one for one in SIGNALS if is_main and signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, count) for number in numbers}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        interrupts.close()


@contextmanager
def blocked() -> Iterator[None]:
    """Deliver these signals after the block; processes started in the block inherit the blocked signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """For a process whose parent decides when it ends: ignore the signals, and unblock inherited blocked ones."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
