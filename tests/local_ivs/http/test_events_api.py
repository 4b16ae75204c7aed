"""The log of events over the wire: one page as JSON, and server-sent events read by a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.local_ivs.http.own_servers import Staged, staged


@pytest.fixture(scope="module")
def stage() -> Iterator[Staged]:
    with staged() as opened:
        yield opened


@pytest.fixture
def channel(stage: Staged) -> str:
    client = stage.client()
    arn = str(client.create_channel(name="show")["channel"]["arn"])
    client.close()
    return arn


class Listener:
    """Somebody who listens to server-sent events."""

    def __init__(self, stage: Staged, **headers: str) -> None:
        parts = urlsplit(stage.management_url)
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=5)
        self.connection.request("GET", "/events", headers=headers)
        self.response = self.connection.getresponse()

    def next(self) -> tuple[int, dict[str, Any]]:
        """The next event and its id."""
        number = 0
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if line.startswith("id: "):
                number = int(line[4:])
            if line.startswith("data: "):
                return number, json.loads(line[6:])

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def page(stage: Staged, query: str) -> list[dict[str, Any]]:
    reply = stage.manage("GET", f"/events?{query}")
    assert reply.status == 200, reply
    found: list[dict[str, Any]] = reply.json()["events"]
    return found


def test_who_listens_hears_what_happens_from_now_on(stage: Staged, channel: str) -> None:
    stage.start_stream(channel)
    listener = Listener(stage)
    assert listener.response.status == 200
    assert listener.response.getheader("content-type", "").startswith("text/event-stream")
    stage.manage("POST", "/streams/stop", {"channelArn": channel})
    (first, end), (second, session) = listener.next(), listener.next()
    listener.close()
    assert first < second
    assert [event["detail"]["event_name"] for event in (end, session)] == ["Stream End", "Session Ended"]
    assert end["resources"] == [channel]


def test_who_was_away_goes_on_where_they_were(stage: Staged, channel: str) -> None:
    stage.start_stream(channel)
    stage.manage("POST", "/streams/stop", {"channelArn": channel})
    (*_, created, start, end, _ended) = page(stage, "after=0&maxResults=1000")
    listener = Listener(stage, **{"Last-Event-ID": str(start["number"])})
    assert listener.next() == (end["number"], end["event"])
    listener.close()
    everything = Listener(stage, **{"Last-Event-ID": "0"})
    assert everything.next()[1] == page(stage, "after=0")[0]["event"]
    everything.close()
    assert page(stage, f"after={created['number']}&maxResults=1") == [start]


def test_pages_follow_each_other_without_gap(stage: Staged, channel: str) -> None:
    for _ in range(3):
        stage.start_stream(channel)
        stage.manage("POST", "/streams/stop", {"channelArn": channel})
    whole = page(stage, "after=0&maxResults=1000")
    walked, after = [], 0
    while found := page(stage, f"after={after}&maxResults=5"):
        walked += found
        after = found[-1]["number"]
    assert walked == whole
    assert page(stage, f"after={after}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=x", "after"),
        ("after=-1", "after"),
        ("after=", "after"),
        ("after=99999999999999999999", "after"),
        ("after=0&maxResults=0", "maxResults"),
        ("after=0&maxResults=1001", "maxResults"),
        ("since=5", "since"),
    ],
)
def test_a_bad_question_is_refused_by_field(stage: Staged, query: str, field: str) -> None:
    reply = stage.manage("GET", f"/events?{query}")
    assert reply.status == 422
    assert [error["field"] for error in reply.json()["errors"]] == [field]


def test_a_bad_last_event_id_is_refused(stage: Staged) -> None:
    listener = Listener(stage, **{"Last-Event-ID": "yesterday"})
    assert listener.response.status == 422
    listener.close()


def test_a_listener_holds_nobody_up_and_is_let_go_at_the_end() -> None:
    with staged() as stage:
        listeners = [Listener(stage) for _ in range(10)]
        client = stage.client()
        started_at = time.monotonic()
        for _ in range(5):
            stage.start_stream(client.create_channel()["channel"]["arn"])
        assert time.monotonic() - started_at < 3
        client.close()
        ending_at = time.monotonic()
    assert time.monotonic() - ending_at < 2
    for listener in listeners:
        assert b"Session Created" in listener.response.read()
        listener.close()
