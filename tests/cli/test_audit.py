"""`tokensvc audit …`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.storage.samples import CHANNEL
from tests.support.audit import REQUESTER
from tests.support.processes import TOKENSVC, run
from tokensvc.cli.operator import operator_actor
from tokensvc.storage.store import open_store

pytestmark = pytest.mark.slow

ADD = ("denials", "add", "--channel", CHANNEL, "--viewer", "ada", "--deny-for", "60", "--json")


def test_list_shows_who_did_what(terminal: Terminal) -> None:
    [denial] = terminal(*ADD).json["denials"]
    terminal("denials", "remove", denial["id"], "--yes")
    records = terminal("audit", "list", "--action", "denials", "--json").json["records"]
    assert [(r["action"], r["target"]) for r in records] == [
        ("denials.remove", denial["id"]),
        ("denials.add", denial["id"]),
    ]
    assert {(r["actor"]["kind"], r["actor"]["name"]) for r in records} == {("operator", operator_actor().name)}
    assert denial["id"] in terminal("audit", "list").out


def test_list_finds_a_viewer_without_showing_it(terminal: Terminal) -> None:
    terminal(*ADD)
    found = terminal("audit", "list", "--viewer", "ada", "--json")
    assert [r["action"] for r in found.json["records"]] == ["denials.add"]
    assert '"ada"' not in found.out
    assert terminal("audit", "list", "--viewer", "eve", "--json").json["records"] == []


def test_bad_filters_are_named_as_options(terminal: Terminal) -> None:
    assert "--since: must be an RFC 3339 timestamp" in terminal("audit", "list", "--since", "now", code=2).err


def test_follow_prints_new_records_as_lines_until_ctrl_c(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(*ADD)
    store = open_store(terminal.environ["TOKENSVC_DATABASE_URL"])
    written = iter([REQUESTER.event("keys.rotate", "k1"), REQUESTER.event("denials.add", "d1")])

    def write_or_interrupt(_seconds: float) -> None:
        event = next(written, None)
        if event is None:
            raise KeyboardInterrupt
        store.audit.append([event])

    monkeypatch.setattr("tokensvc.cli.audit.time.sleep", write_or_interrupt)
    result = terminal("audit", "follow", "--json")
    assert [json.loads(line)["target"] for line in result.out.splitlines()] == ["k1", "d1"]
    store.close()


@pytest.mark.e2e
def test_a_stream_that_cannot_be_written_does_not_spoil_a_command_s_result(terminal: Terminal, tmp_path: Path) -> None:
    """Its standard output may be the only place where a new API key is shown."""
    environ = terminal.environ | {"TOKENSVC_AUDIT_LOG": str(tmp_path / "gone" / "audit.jsonl")}
    added = run([TOKENSVC, "callers", "add", "shop", "--all-channels", "--json"], tmp_path, environ)
    assert json.loads(added.out)["apiKey"].startswith("tsk_")
    assert "audit records are missing in the stream" in added.err
    closed = run(["sh", "-c", f"{TOKENSVC} callers add web --all-channels --json 2>&-"], tmp_path, environ)
    assert json.loads(closed.out)["apiKey"].startswith("tsk_")
