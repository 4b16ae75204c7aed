"""The stream has each record as a line of JSON once the store has committed it, and its failure stops nothing."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.audit import EVENT, REQUESTER
from tests.support.stores import store_in_memory
from tokensvc.audit.record import AuditRecord
from tokensvc.audit.search import AuditSearch
from tokensvc.audit.store import AuditFilter
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.audit.views import AuditQuery
from tokensvc.container.audit_stream import WAIT_SECONDS, AuditStream
from tokensvc.errors import DenialNotFound
from tokensvc.pagination import validated_query
from tokensvc.storage.audit import stream_records
from tokensvc.storage.store import Store

RECORD = AuditRecord(1, datetime(2026, 11, 21, 10, 0, tzinfo=UTC), EVENT)
WRITE_MANY = """
import sys
from tests.container.test_audit_stream import RECORD
from tokensvc.container import audit_stream
audit_stream.WAIT_SECONDS = 60
lost = []
stream = audit_stream.AuditStream({target}, lost.append)
for _ in range(20):
    stream.write([RECORD] * 50)
sys.exit(len(lost))
"""


class AlwaysReady:
    """A poll that finds the descriptor ready, which it no longer is when it is written to."""

    def register(self, _descriptor: int, _events: int) -> None:
        pass

    def poll(self, _milliseconds: float) -> list[int]:
        return [1]


@pytest.fixture
def store(migrated: Path) -> Store:
    return store_in_memory(migrated)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_record_is_a_line_with_the_members_of_the_api(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    stream_records(store.engine, AuditStream(str(file)).write)
    store.audit.append([REQUESTER.event("denials.add", "d1"), REQUESTER.event("denials.remove", "d1")])
    page = AuditSearch(store=store.audit, digest_viewer=ViewerDigests(store.audit)).page(
        validated_query({}, AuditQuery)
    )
    assert lines(file) == [record.model_dump(mode="json") for record in reversed(page.records)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_rolled_back_is_not_written(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    stream_records(store.engine, AuditStream(str(file)).write)
    with pytest.raises(DenialNotFound):
        store.denials.remove("d1", ("*",), event=EVENT)
    assert not file.exists()


def test_a_missing_directory_stops_no_act_and_is_logged_once_and_counted(store: Store, tmp_path: Path) -> None:
    file, lost = tmp_path / "gone" / "audit.jsonl", [0]
    stream_records(store.engine, AuditStream(str(file), lost.append).write)
    with capture_logs() as logged:
        store.audit.append([EVENT, EVENT])
        store.audit.append([EVENT])
    assert (sum(lost), [line["event"] for line in logged]) == (3, ["audit records are missing in the stream"])
    assert len(store.audit.list(AuditFilter(), limit=9)) == 3
    file.parent.mkdir()
    store.audit.append([EVENT])
    assert [line["number"] for line in lines(file)] == [4]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_stops_no_act(store: Store) -> None:
    lost = [0]
    stream_records(store.engine, AuditStream("/dev/full", lost.append).write)
    store.audit.append([EVENT])
    assert (sum(lost), len(store.audit.list(AuditFilter(), limit=9))) == (1, 1)


@pytest.mark.slow
def test_a_reader_that_stops_reading_holds_up_an_act_only_briefly(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokensvc.container.audit_stream.WAIT_SECONDS", 0.01)
    reader, writer = os.pipe()
    lost = [0]
    stream_records(store.engine, AuditStream(writer, lost.append).write)
    for _ in range(60):
        store.audit.append([EVENT] * 10)
    assert sum(lost) > 0
    assert len(store.audit.list(AuditFilter(), limit=1000)) == 600
    os.close(reader)
    os.close(writer)


def test_a_named_pipe_without_a_reader_holds_up_nothing(store: Store, tmp_path: Path) -> None:
    pipe, lost = tmp_path / "pipe", [0]
    os.mkfifo(pipe)
    stream_records(store.engine, AuditStream(str(pipe), lost.append).write)
    store.audit.append([EVENT])
    assert (sum(lost), len(store.audit.list(AuditFilter(), limit=9))) == (1, 1)


@pytest.mark.slow
def test_a_named_pipe_whose_reader_stops_holds_up_an_act_only_briefly(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokensvc.container.audit_stream.WAIT_SECONDS", 0.01)
    pipe, lost = tmp_path / "pipe", [0]
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    stream_records(store.engine, AuditStream(str(pipe), lost.append).write)
    store.audit.append([EVENT])
    assert json.loads(os.read(reader, 65_536))["action"] == EVENT.action
    for _ in range(60):
        store.audit.append([EVENT] * 10)
    assert sum(lost) > 0
    os.close(reader)


@pytest.mark.slow
def test_a_reader_that_stops_holds_up_many_acts_no_longer_than_one_and_the_next_not_at_all() -> None:
    reader, writer = os.pipe()
    lost: list[int] = []
    stream = AuditStream(writer, lost.append)
    while not lost:
        stream.write([RECORD] * 100)
    os.read(reader, 1_000_000)
    stream.write([RECORD])  # it writes again
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    started_at = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        deque(pool.map(lambda _: stream.write([RECORD]), range(8)), maxlen=0)
    assert time.monotonic() - started_at < 4 * WAIT_SECONDS, "one after the other"
    started_at = time.monotonic()
    for _ in range(8):
        stream.write([RECORD])
    assert time.monotonic() - started_at < 4 * WAIT_SECONDS
    assert sum(lost[1:]) == 16
    os.close(reader)
    os.close(writer)


@pytest.mark.slow
@pytest.mark.parametrize("is_named", [False, True], ids=["standard output", "a named pipe"])
def test_lines_of_several_processes_do_not_mix_in_a_pipe_whose_reader_is_slow(is_named: bool, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    if is_named:
        os.mkfifo(pipe)
        reader, writer = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), os.open(os.devnull, os.O_WRONLY)
    else:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
    command = [sys.executable, "-c", WRITE_MANY.format(target=repr(str(pipe)) if is_named else 1)]
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [subprocess.Popen(command, stdout=writer, env=environ) for _ in range(3)]
    os.close(writer)
    received, is_running = bytearray(), True
    while is_running:
        is_running = None in [process.poll() for process in processes]
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reader, 3000):
                received += piece
                time.sleep(0.0005)
    os.close(reader)
    assert [process.wait() for process in processes] == [0, 0, 0], "records were lost"
    actions = [json.loads(line)["action"] for line in received.splitlines()]
    assert actions == [EVENT.action] * 3 * 20 * 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "null"])
def test_a_process_with_thousands_of_open_files_writes_too(store: Store, tmp_path: Path, kind: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this process may not have 2,048 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    os.mkfifo(tmp_path / "pipe")
    with contextlib.ExitStack() as stack:
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, reader)
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        lost: list[int] = []
        stream_records(
            store.engine, AuditStream(str(tmp_path / "pipe") if kind == "pipe" else os.devnull, lost.append).write
        )
        store.audit.append([EVENT])
        if kind == "pipe":
            assert json.loads(os.read(reader, 65_536))["action"] == EVENT.action
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (lost, len(store.audit.list(AuditFilter(), limit=9))) == ([], 1)


@pytest.mark.slow
def test_a_stream_whose_reader_reads_again_loses_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokensvc.container.audit_stream.WAIT_SECONDS", 0.01)
    reader, writer = os.pipe()
    lost: list[int] = []
    stream = AuditStream(writer, lost.append)
    while len(lost) < 2:
        stream.write([RECORD] * 500)
    monkeypatch.setattr("tokensvc.container.audit_stream.WAIT_SECONDS", 30)

    def read_slowly() -> None:
        while piece := os.read(reader, 65_536):
            received.append(piece)
            time.sleep(0.002)

    received: list[bytes] = []
    reading = threading.Thread(target=read_slowly)
    reading.start()
    while not received:
        time.sleep(0.001)
    del lost[:]
    for _ in range(5):
        stream.write([RECORD] * 500)
    os.close(writer)
    reading.join()
    os.close(reader)
    assert not lost
    assert {json.loads(line)["action"] for line in b"".join(received).splitlines()} == {EVENT.action}


@pytest.mark.slow
def test_a_pipe_that_another_process_fills_at_the_last_moment_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor itself blocks, as standard output does."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    monkeypatch.setattr("tokensvc.container.audit_stream.WAIT_SECONDS", 0.01)
    monkeypatch.setattr("tokensvc.container.audit_stream.select.poll", AlwaysReady)
    lost: list[int] = []
    writing = threading.Thread(target=AuditStream(writer, lost.append).write, args=([RECORD],), daemon=True)
    writing.start()
    writing.join(30)
    assert lost == [1]
    assert os.get_blocking(writer), "others may rely on it"
    os.close(reader)
    os.close(writer)


@pytest.mark.slow
def test_once_the_directory_is_back_acts_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "audit.jsonl"
    for _ in range(20):
        lost: list[int] = []
        stream = AuditStream(str(file), lost.append)
        stream.write([RECORD])
        file.parent.mkdir()
        with ThreadPoolExecutor(8) as pool:
            deque(pool.map(lambda _, stream=stream: stream.write([RECORD]), range(40)), maxlen=0)
        assert (lost, len(lines(file))) == ([1], 40)
        file.unlink()
        file.parent.rmdir()


def test_whatever_fails_in_the_stream_the_act_does_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []
    stream = AuditStream(os.devnull, lost.append)
    monkeypatch.setattr(stream, "_write_lines", lambda *_: 1 / 0)
    stream_records(store.engine, stream.write)
    store.audit.append([EVENT])
    assert (lost, len(store.audit.list(AuditFilter(), limit=9))) == ([1], 1)


def test_a_line_is_ascii_so_that_it_cannot_control_a_terminal(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    stream_records(store.engine, AuditStream(str(file)).write)
    name = "Zo\u00eb \x9b31m \x1b[2J"
    store.audit.append([EVENT._replace(target=name)])
    text = file.read_bytes()
    assert text.isascii()
    assert b"\x1b" not in text
    assert lines(file)[0]["target"] == name
