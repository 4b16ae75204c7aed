"""The lines of the access log; `tests/container/test_log_writer.py` tests how they are written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.support.captured_log import CapturedLog
from tests.support.clocks import START, ManualClock
from tokensvc.metrics import HandledRequest
from tokensvc.web.access_log import AccessLog

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def request(
    number: int = 0, client: str = "192.0.2.7", caller: str = "shop", trace_id: str = "", *, sampled: bool = False
) -> HandledRequest:
    at, request_id = 1000.0 + number, f"id-{number:x}"
    return HandledRequest(
        at, "POST", "/v1/tokens", 201, "issued", caller, client, request_id, 0.0012, trace_id, sampled
    )


@pytest.fixture
def writer() -> CapturedLog:
    return CapturedLog()


def access_log(writer: CapturedLog, *, as_json: bool = True) -> AccessLog:
    return AccessLog(writer, ManualClock(), as_json=as_json)


def test_a_json_line_describes_the_request(writer: CapturedLog) -> None:
    log = access_log(writer)
    log.add(request(-5))
    assert json.loads(writer.text) == {
        "timestamp": datetime.fromtimestamp(START - 5, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "level": "info",
        "event": "request",
        "request_id": "id--5",
        "method": "POST",
        "path": "/v1/tokens",
        "status": 201,
        "code": "issued",
        "caller": "shop",
        "client": "192.0.2.7",
        "duration_ms": 1.2,
    }
    assert list(json.loads(writer.text))[:4] == ["timestamp", "level", "event", "request_id"]


@pytest.mark.parametrize("sampled", [True, False])
def test_a_request_of_a_trace_has_its_id_after_that_of_the_request(sampled: bool) -> None:
    lines, texts = CapturedLog(), CapturedLog()
    for writer, as_json in ((lines, True), (texts, False)):
        access_log(writer, as_json=as_json).add(request(trace_id=TRACE, sampled=sampled))
    line = json.loads(lines.text)
    assert list(line)[:5] == ["timestamp", "level", "event", "request_id", "trace_id"]
    assert line["trace_id"] == TRACE
    assert f"request request_id=id-0 trace_id={TRACE} method=POST" in texts.text


def test_lines_are_left_out_while_the_log_is_above_their_level(writer: CapturedLog) -> None:
    level = ["warning"]
    log = AccessLog(writer, ManualClock(), as_json=True, is_written=lambda: level == ["info"])
    log.add(request(1))
    assert writer.text == ""
    level[0] = "info"
    log.add(request(2))
    assert json.loads(writer.text)["request_id"] == "id-2"


def test_a_text_line_describes_the_request(writer: CapturedLog) -> None:
    log = access_log(writer, as_json=False)
    log.add(request(caller=""))
    assert writer.text == (
        "2027-01-15T08:00:00.000Z [info     ] request request_id=id-0 method=POST path=/v1/tokens status=201 "
        "code=issued caller=- client=192.0.2.7 duration_ms=1.2\n"
    )


@pytest.mark.parametrize("client", ['"}\n{"event":"forged', "tsk_secret", "", "a" * 46, "1.2.3.4 x", "x\x1b[31m"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_client_that_is_not_an_address_is_not_logged(writer: CapturedLog, client: str, as_json: bool) -> None:
    """A trusted proxy may forward any text."""
    log = access_log(writer, as_json=as_json)
    log.add(request(client=client))
    assert client == "" or client not in writer.text
    assert len(writer.text.splitlines()) == 1


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::1", "::1"])
def test_ipv4_and_ipv6_addresses_are_logged(writer: CapturedLog, client: str) -> None:
    log = access_log(writer)
    log.add(request(client=client))
    assert json.loads(writer.text)["client"] == client
