"""The log of events over HTTP: a page as JSON, and server-sent events read by a plain HTTP client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server


@pytest.fixture(scope="module")
def server() -> Iterator[LocalIvsServer]:
    with local_ivs_server() as running_server:
        yield running_server


@pytest.fixture
def channel(server: LocalIvsServer) -> str:
    client = server.client()
    arn = str(client.create_channel(name="show")["channel"]["arn"])
    client.close()
    return arn


class Listener:
    """A client that reads server-sent events."""

    def __init__(self, server: LocalIvsServer, **headers: str) -> None:
        parts = urlsplit(server.management_url)
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


def page(server: LocalIvsServer, query: str) -> list[dict[str, Any]]:
    reply = server.manage("GET", f"/events?{query}")
    assert reply.status == 200, reply
    found: list[dict[str, Any]] = reply.json()["events"]
    return found


@pytest.mark.slow
def test_a_stream_of_events_starts_with_the_next_event(server: LocalIvsServer, channel: str) -> None:
    server.start_stream(channel)
    listener = Listener(server)
    assert listener.response.status == 200
    assert listener.response.getheader("content-type", "").startswith("text/event-stream")
    server.manage("POST", "/streams/stop", {"channelArn": channel})
    (first, end), (second, session) = listener.next(), listener.next()
    listener.close()
    assert first < second
    assert [event["detail"]["event_name"] for event in (end, session)] == ["Stream End", "Session Ended"]
    assert end["resources"] == [channel]


def test_a_stream_of_events_continues_after_the_last_event_id(server: LocalIvsServer, channel: str) -> None:
    server.start_stream(channel)
    server.manage("POST", "/streams/stop", {"channelArn": channel})
    (*_, created, start, end, _ended) = page(server, "after=0&maxResults=1000")
    listener = Listener(server, **{"Last-Event-ID": str(start["number"])})
    assert listener.next() == (end["number"], end["event"])
    listener.close()
    all_stored = Listener(server, **{"Last-Event-ID": "0"})
    assert all_stored.next()[1] == page(server, "after=0")[0]["event"]
    all_stored.close()
    assert page(server, f"after={created['number']}&maxResults=1") == [start]


def test_pages_of_events_have_no_gaps(server: LocalIvsServer, channel: str) -> None:
    for _ in range(3):
        server.start_stream(channel)
        server.manage("POST", "/streams/stop", {"channelArn": channel})
    whole = page(server, "after=0&maxResults=1000")
    walked, after = [], 0
    while found := page(server, f"after={after}&maxResults=5"):
        walked += found
        after = found[-1]["number"]
    assert walked == whole
    assert page(server, f"after={after}") == []


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
def test_invalid_query_parameters_are_rejected_by_field(server: LocalIvsServer, query: str, field: str) -> None:
    reply = server.manage("GET", f"/events?{query}")
    assert reply.status == 422
    assert [error["field"] for error in reply.json()["errors"]] == [field]


@pytest.mark.slow
def test_an_invalid_last_event_id_is_rejected(server: LocalIvsServer) -> None:
    listener = Listener(server, **{"Last-Event-ID": "yesterday"})
    assert listener.response.status == 422
    listener.close()


@pytest.mark.slow
def test_listeners_block_no_calls_and_are_closed_at_shutdown() -> None:
    with local_ivs_server() as server:
        listeners = [Listener(server) for _ in range(10)]
        client = server.client()
        for _ in range(5):
            server.start_stream(client.create_channel()["channel"]["arn"])
        client.close()
    for listener in listeners:
        assert b"Session Created" in listener.response.read()
        listener.close()
