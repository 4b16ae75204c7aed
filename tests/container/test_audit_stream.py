"""The stream has each record as a line of JSON once the store has committed it, and its failure stops nothing."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.audit import EVENT, REQUESTER
from tests.support.stores import store_in_memory
from tokensvc.audit.search import AuditSearch
from tokensvc.audit.store import AuditFilter
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.audit.views import AuditQuery
from tokensvc.container.audit_stream import AuditStream
from tokensvc.errors import DenialNotFound
from tokensvc.pagination import validated_query
from tokensvc.storage.audit import stream_records
from tokensvc.storage.store import Store


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


def test_a_line_is_ascii_so_that_it_cannot_control_a_terminal(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    stream_records(store.engine, AuditStream(str(file)).write)
    name = "Zo\u00eb \x9b31m \x1b[2J"
    store.audit.append([EVENT._replace(target=name)])
    text = file.read_bytes()
    assert text.isascii()
    assert b"\x1b" not in text
    assert lines(file)[0]["target"] == name
