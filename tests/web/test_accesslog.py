"""One line a request, written off the loop, whatever becomes of the writer."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest

from tests.clocks import START, ManualClock
from tokensvc.web import accesslog
from tokensvc.web.accesslog import LINES_AT_ONCE, AccessLog, Line


def line(number: int = 0, client: str = "192.0.2.7", caller: str = "shop") -> Line:
    return Line(1000.0 + number, "POST", "/v1/tokens", 201, "issued", caller, client, f"id-{number:x}", 0.0012)


class Sink:
    """What was written."""

    def __init__(self) -> None:
        self.text = ""
        self.fails: Exception | None = None
        self.wrote, self.failed = threading.Event(), threading.Event()

    def write(self, text: str) -> None:
        if self.fails is not None:
            problem, self.fails = self.fails, None
            self.failed.set()
            raise problem
        self.text += text
        self.wrote.set()


@pytest.fixture
def sink() -> Sink:
    return Sink()


def log_of(sink: Sink, *, as_json: bool = True) -> AccessLog:
    return AccessLog(sink.write, ManualClock(), as_json=as_json)


def test_a_line_is_json_with_what_happened(sink: Sink) -> None:
    log = log_of(sink)
    log.add(line(-5))
    log._flush()
    assert json.loads(sink.text) == {
        "timestamp": datetime.fromtimestamp(START - 5, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "level": "info",
        "event": "request",
        "method": "POST",
        "path": "/v1/tokens",
        "status": 201,
        "code": "issued",
        "caller": "shop",
        "client": "192.0.2.7",
        "request_id": "id--5",
        "ms": 1.2,
    }


def test_a_line_for_people_is_one_line(sink: Sink) -> None:
    log = log_of(sink, as_json=False)
    log.add(line(caller=""))
    log._flush()
    assert sink.text == "2027-01-15T08:00:00.000Z POST /v1/tokens 201 issued caller=- client=192.0.2.7 1.2ms id-0\n"


@pytest.mark.parametrize("client", ['"}\n{"event":"forged', "tsk_secret", "", "a" * 46, "1.2.3.4 x", "x\x1b[31m"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_client_that_is_no_address_is_not_repeated(sink: Sink, client: str, as_json: bool) -> None:
    """A trusted proxy may have passed on anything."""
    log = log_of(sink, as_json=as_json)
    log.add(line(client=client))
    log._flush()
    assert client == "" or client not in sink.text
    assert len(sink.text.splitlines()) == 1


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::1", "::1"])
def test_addresses_of_both_kinds_are_told(sink: Sink, client: str) -> None:
    log = log_of(sink)
    log.add(line(client=client))
    log._flush()
    assert json.loads(sink.text)["client"] == client


def test_lines_are_written_in_order_and_once_and_all_before_the_end(sink: Sink) -> None:
    log = log_of(sink)
    log.start()
    threads = [threading.Thread(target=lambda: [log.add(line(n)) for n in range(500)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.stop()
    ids = [json.loads(text)["request_id"] for text in sink.text.splitlines()]
    assert len(ids) == 1000
    assert sorted(ids) == sorted([line(n).request_id for n in range(500)] * 2)
    assert not log._thread.is_alive()


def test_whoever_signs_gets_a_turn_while_many_lines_are_made(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    log, pauses = log_of(sink), list[float]()
    monkeypatch.setattr(log._stopping, "wait", pauses.append)
    for number in range(10 * LINES_AT_ONCE):
        log.add(line(number))
    log._flush()
    assert len(pauses) == 10
    assert sink.text.count("\n") == 10 * LINES_AT_ONCE


@pytest.mark.parametrize(
    "problem", [OSError(28, "no space left on device"), ValueError("closed file"), BrokenPipeError()]
)
def test_a_writer_that_fails_once_does_not_end_the_log(sink: Sink, problem: Exception) -> None:
    log = log_of(sink)
    sink.fails = problem
    log.add(line(1))
    log.start()
    assert sink.failed.wait(5)
    log.add(line(2))
    assert sink.wrote.wait(5)
    log.stop()
    assert "id-2" in sink.text


def test_when_too_many_wait_the_oldest_are_dropped_and_it_is_said(sink: Sink) -> None:
    log = log_of(sink)
    for number in range(accesslog._KEPT_MAX + 10):
        log.add(line(number))
    log._stopping.set()  # no pauses
    log._flush()
    lines = sink.text.splitlines()
    assert json.loads(lines[0])["request_id"] == f"id-{10:x}"
    assert "dropped" in json.loads(lines[-1])["event"]
    assert len(lines) == accesslog._KEPT_MAX + 1
