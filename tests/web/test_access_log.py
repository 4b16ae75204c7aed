"""The lines of the access log; `tests/container/test_log_writer.py` tests how they are written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.support.captured_log import CapturedLog
from tests.support.clocks import START, ManualClock
from tokensvc.web.access_log import AccessLog, LogEntry


def log_entry(number: int = 0, client: str = "192.0.2.7", caller: str = "shop") -> LogEntry:
    return LogEntry(1000.0 + number, "POST", "/v1/tokens", 201, "issued", caller, client, f"id-{number:x}", 0.0012)


@pytest.fixture
def writer() -> CapturedLog:
    return CapturedLog()


def access_log(writer: CapturedLog, *, as_json: bool = True) -> AccessLog:
    return AccessLog(writer, ManualClock(), as_json=as_json)


def test_a_json_line_describes_the_request(writer: CapturedLog) -> None:
    log = access_log(writer)
    log.add(log_entry(-5))
    assert json.loads(writer.text) == {
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
        "duration_ms": 1.2,
    }


def test_a_text_line_describes_the_request(writer: CapturedLog) -> None:
    log = access_log(writer, as_json=False)
    log.add(log_entry(caller=""))
    assert writer.text == "2027-01-15T08:00:00.000Z POST /v1/tokens 201 issued caller=- client=192.0.2.7 1.2ms id-0\n"


@pytest.mark.parametrize("client", ['"}\n{"event":"forged', "tsk_secret", "", "a" * 46, "1.2.3.4 x", "x\x1b[31m"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_client_that_is_not_an_address_is_not_logged(writer: CapturedLog, client: str, as_json: bool) -> None:
    """A trusted proxy may forward any text."""
    log = access_log(writer, as_json=as_json)
    log.add(log_entry(client=client))
    assert client == "" or client not in writer.text
    assert len(writer.text.splitlines()) == 1


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::1", "::1"])
def test_ipv4_and_ipv6_addresses_are_logged(writer: CapturedLog, client: str) -> None:
    log = access_log(writer)
    log.add(log_entry(client=client))
    assert json.loads(writer.text)["client"] == client
