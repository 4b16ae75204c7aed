"""The log writer's queue and thread: in order, bounded, counted, and never blocking the caller."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import pytest

from tests.support.captured_log import CapturedLog
from tests.support.clocks import ManualClock
from tests.support.processes import wait_until
from tokensvc.container.log_writer import LINES_PER_WRITE, PAUSE_SECONDS, DescriptorSink, LogWriter, StreamSink, no_sink

FULL_DISK = OSError(errno.ENOSPC, "no space left on device")


def numbers(entries: Sequence[Any]) -> str:
    return "".join(f"{entry}\n" for entry in entries)


def pairs(entries: Sequence[Any]) -> str:
    return "".join(f"{name}{number}\n" for name, number in entries)


def report_of(text: str) -> dict[str, Any]:
    """The report of dropped lines, of which the text contains one."""
    [line] = [line for line in text.splitlines() if "log lines dropped" in line]
    return dict(json.loads(line), event=None)


def test_routine_and_other_lines_are_written_in_order() -> None:
    writer = CapturedLog()
    add = writer.queue_for(numbers)
    add(1)
    add(2)
    writer.put("a\n")
    add(3)
    writer.put("b\n")
    assert writer.text == "1\n2\na\n3\nb\n"


def test_the_writer_pauses_between_batches_of_lines() -> None:
    pauses = list[float]()
    writer = CapturedLog(pause=pauses.append)
    add = writer.queue_for(numbers)
    for number in range(10 * LINES_PER_WRITE):
        add(number)
    assert writer.text.count("\n") == 10 * LINES_PER_WRITE
    assert pauses == [PAUSE_SECONDS] * 9


def test_routine_lines_never_use_the_reserved_capacity() -> None:
    writer = CapturedLog(routine_lines_max=10, reserved_lines=5)
    add = writer.queue_for(numbers)
    for number in range(25):
        add(number)
    for letter in "abcdefg":
        writer.put(f"{letter}\n")
    lines = writer.text.splitlines()
    assert lines[:15] == [*map(str, range(10)), *"abcde"]
    assert report_of(writer.text) == {"event": None, "queue_full": 17}
    assert writer.take_dropped() == {"queue_full": 17}
    assert writer.take_dropped() == {}


def test_the_queue_is_bounded_in_characters_too() -> None:
    writer = CapturedLog(characters_max=100)
    for _ in range(5):
        writer.put("x" * 39 + "\n")
    assert writer.text.count("x" * 39) == 2
    assert writer.take_dropped() == {"queue_full": 3}
    writer.put("there is capacity again\n")
    assert "there is capacity again" in writer.text


@pytest.mark.parametrize("error", [FULL_DISK, ValueError("closed file"), BrokenPipeError()])
def test_lines_that_cannot_be_written_are_counted_and_reported(error: Exception) -> None:
    clock = ManualClock()
    writer = CapturedLog(monotonic=clock.monotonic)
    writer.fails_with = [error, error]  # the lines, and the first attempt to report them
    writer.put("lost\n")
    writer.put("lost too\n")
    assert writer.text == ""
    clock.advance(5)
    writer.put("written\n")
    lines = writer.text.splitlines()
    assert lines[0] == "written"
    assert json.loads(lines[1]) == {"event": "log lines dropped", "write_failed": 2}
    assert len(lines) == 2
    assert writer.take_dropped() == {"write_failed": 2}


def test_a_line_that_was_cut_off_is_terminated_before_the_next() -> None:
    clock = ManualClock()
    writer = CapturedLog(monotonic=clock.monotonic)
    writer.accepts, writer.fails_with = [8], [FULL_DISK, FULL_DISK]
    for line in ("first\n", "second\n", "third\n"):
        writer.put(line)
    assert writer.text == "first\nse"
    assert writer.take_dropped() == {"write_failed": 2}
    writer.put("fourth\n")
    assert writer.text == "first\nse\nfourth\n"


def test_a_partial_write_is_continued() -> None:
    writer = CapturedLog()
    writer.accepts = [1, 2, 3]
    writer.put("grüße\n")
    assert writer.text == "grüße\n"


def test_a_sink_that_writes_nothing_counts_as_a_failure() -> None:
    writer = CapturedLog()
    writer.accepts = [0, 0]
    writer.put("line\n")
    assert writer.text == ""
    assert writer.take_dropped() == {"write_failed": 1}


def test_entries_that_cannot_be_rendered_do_not_end_the_log() -> None:
    writer = CapturedLog()
    add = writer.queue_for(lambda entries: str(1 // len(entries[1:])))
    add(1)
    writer.put("next\n")
    assert writer.text.startswith("next\n")
    assert writer.take_dropped() == {"render_failed": 1}


def test_lone_surrogates_do_not_end_the_log() -> None:
    writer = CapturedLog()
    writer.put("\udc80\n")
    assert writer.text == "\\udc80\n"


def test_dropped_lines_are_reported_at_most_once_a_second() -> None:
    clock = ManualClock()
    writer = CapturedLog(monotonic=clock.monotonic, routine_lines_max=0, reserved_lines=1)
    for step in range(5):
        writer.put("a\n")
        writer.put("b\n")
        assert writer.text.count("dropped") == step // 2 + 1
        clock.advance(0.5)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    yield read_end, write_end
    for end in (read_end, write_end):
        os.close(end)


def writing_to(descriptor: int, **options: Any) -> LogWriter:
    return LogWriter(DescriptorSink(descriptor), lambda dropped: json.dumps(dict(dropped)) + "\n", **options)


def read_until(descriptor: int, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        received += os.read(descriptor, 65536)
    return received


def test_callers_never_wait_for_the_reader_and_dropped_lines_are_reported_later(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    writer = writing_to(write_end, routine_lines_max=50, reserved_lines=50)
    add = writer.queue_for(numbers)
    started_at = time.monotonic()
    for number in range(10_000):
        add(number)
        writer.put(f"line {number} {'x' * 100}\n")
    assert not writer.flush(0.05)
    assert time.monotonic() - started_at < 5
    dropped = writer.take_dropped()["queue_full"]
    assert dropped > 15_000
    received = bytearray()
    threading.Thread(target=lambda: received.extend(read_until(read_end, b"last\n")), daemon=True).start()
    assert writer.flush(10)
    writer.put("last\n")
    assert writer.flush(10)
    wait_until(lambda: received.endswith(b"last\n"), "everything is read", 5)
    lines = bytes(received).decode().splitlines()
    reported = sum(json.loads(line)["queue_full"] for line in lines if line.startswith("{"))
    written = sum(not line.startswith("{") for line in lines)
    assert reported == dropped + sum(writer.take_dropped().values())
    assert written + reported == 20_001


def test_lines_of_several_threads_are_written_once_and_complete(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    writer = writing_to(write_end)
    add = writer.queue_for(pairs)

    def log(name: str) -> None:
        for number in range(500):
            add((name, number))
            writer.put(f"{name}-{number}\n")

    threads = [threading.Thread(target=log, args=(name,)) for name in "ab"]
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(read_until(read_end, b"end\n")), daemon=True)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    writer.put("end\n")
    reader.join(10)
    lines = bytes(received).decode().splitlines()
    for name in "ab":
        for separator in ("", "-"):
            assert [
                line for line in lines if line.startswith(f"{name}{separator}") and ("-" in line) == bool(separator)
            ] == [f"{name}{separator}{number}" for number in range(500)]
    assert len(lines) == 2001


def test_the_writer_waits_for_a_non_blocking_descriptor(pipe: tuple[int, int]) -> None:
    """Other processes share the descriptor, and any of them may have made it non-blocking."""
    read_end, write_end = pipe
    os.set_blocking(write_end, False)
    writer = writing_to(write_end)
    for number in range(2000):
        writer.put(f"{number}\n")
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(read_until(read_end, b"1999\n")), daemon=True)
    reader.start()
    reader.join(10)
    assert bytes(received).decode().split() == [str(number) for number in range(2000)]
    assert writer.take_dropped() == {}


@pytest.mark.slow
def test_a_signal_handler_may_log_while_its_own_thread_is_logging() -> None:
    writer = CapturedLog(routine_lines_max=0, reserved_lines=1_000_000)
    count = 0

    def log(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        writer.put("signal\n")

    previous = signal.signal(signal.SIGALRM, log)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while count < 100:
            writer.put("line\n")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert writer.text.count("signal\n") == count


@pytest.mark.parametrize("is_closed_at_start", [True, False])
def test_without_a_stream_lines_are_counted(is_closed_at_start: bool) -> None:
    writer = LogWriter(no_sink if is_closed_at_start else _closed_stream(), lambda _: "dropped\n")
    writer.put("line\n")
    writer.flush(10)
    assert writer.take_dropped() == {"write_failed": 1}


def _closed_stream() -> StreamSink:
    stream = open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed immediately
    stream.close()
    return StreamSink(stream)


def test_lines_wait_until_a_thread_can_be_started(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    read_end, write_end = pipe
    writer = writing_to(write_end)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.put("first\n")
    writer.put("second\n")
    assert read_until(read_end, b"second\n") == b"first\nsecond\n"


@pytest.mark.slow
def test_lines_of_several_processes_do_not_mix_in_a_pipe_whose_reader_is_slow(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    writers = [writing_to(write_end) for _ in range(2)]
    for number in range(1000):
        for writer in writers:
            writer.put(json.dumps({"number": number, "padding": "x" * (number % 300)}) + "\n")
    received = b""
    while received.count(b"\n") < 2000:
        received += os.read(read_end, 1000)
    numbers = [json.loads(line)["number"] for line in received.splitlines()]
    assert sorted(numbers) == sorted([*range(1000)] * 2)


FORKS = """
import os, sys
from tokensvc.container.log_writer import DescriptorSink, LogWriter
writer = LogWriter(DescriptorSink(1), lambda dropped: "dropped\\n")
os.register_at_fork(after_in_child=writer.after_fork_in_child)
writer.put("before\\n")
writer.flush(10)
if pid := os.fork():
    code = os.waitpid(pid, 0)[1]
    writer.put(f"parent {code}\\n")
else:
    writer.put("child\\n")
sys.exit(0 if writer.flush(10) else 1)
"""


@pytest.mark.slow
def test_a_forked_child_writes_only_its_own_lines() -> None:
    completed = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=30)
    assert completed.stdout.splitlines() == ["before", "child", "parent 0"]
