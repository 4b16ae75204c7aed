"""The management listener shows the clock of the local IVS and advances it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local_ivs.environment import START, FrozenClock
from tests.local_ivs.http.local_ivs_server import LocalIvsServer, local_ivs_server
from tests.local_ivs.http.signed_requests import Reply, send
from tests.support.case_ids import stable_repr
from tests.support.servers import serving
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.http.management_requests import MAX_ADVANCE_SECONDS
from tokensvc.local_ivs.storage import SqliteResourceStore


@pytest.fixture(scope="module")
def clock() -> AdvanceableClock:
    return AdvanceableClock(FrozenClock())


@pytest.fixture(scope="module")
def url(clock: AdvanceableClock) -> Iterator[str]:
    resources = SqliteResourceStore(":memory:")
    with serving(build(resources, LocalIvsSettings(), clock).management) as base_url:
        yield base_url
    resources.close()


def advance(url: str, body: Any) -> Reply:
    return send("POST", f"{url}/clock", json.dumps(body).encode(), sign=False)


def test_the_root_shows_what_it_is_and_its_clock(url: str, clock: AdvanceableClock) -> None:
    reply = send("GET", f"{url}/", sign=False)
    assert reply.status == 200
    assert "not AWS" in reply.json()["description"]
    assert reply.json()["clockOffsetSeconds"] == clock.offset_seconds


def test_the_clock_is_advanced(url: str, clock: AdvanceableClock) -> None:
    before = clock.offset_seconds
    assert advance(url, {"advanceSeconds": 600}).json()["clockOffsetSeconds"] == before + 600
    assert advance(url, {"advanceSeconds": 0.5}).status == 200
    assert clock.now() == START + before + 600.5


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_can_neither_read_nor_act(
    url: str, clock: AdvanceableClock, headers: dict[str, str]
) -> None:
    before = clock.offset_seconds
    for reply in (
        send("GET", f"{url}/sessions", headers=headers, sign=False),
        send("POST", f"{url}/clock", b'{"advanceSeconds": 600}', headers, sign=False),
    ):
        assert (reply.status, reply.json()["code"]) == (403, "not_same_origin")
    assert clock.offset_seconds == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8080", "ivs.localhost"])
def test_programs_on_this_machine_use_it_under_any_of_its_names(url: str, host: str) -> None:
    assert send("GET", f"{url}/", headers={"Host": host}, sign=False).status == 200


def test_its_address_can_be_typed_into_a_browser(url: str) -> None:
    assert send("GET", f"{url}/", headers={"Sec-Fetch-Site": "none"}, sign=False).status == 200


@pytest.mark.parametrize(
    "body",
    [{}, *({"advanceSeconds": bad} for bad in (0, -1, "5", True, None, [1], MAX_ADVANCE_SECONDS + 1))],
    ids=stable_repr,
)
def test_anything_but_a_positive_number_is_rejected_by_field(url: str, clock: AdvanceableClock, body: Any) -> None:
    before = clock.offset_seconds
    reply = advance(url, body)
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in reply.json()["errors"]] == ["advanceSeconds"]
    assert clock.offset_seconds == before


def test_unknown_fields_are_rejected_by_name(url: str) -> None:
    reply = advance(url, {"advanceSeconds": 1, "seconds": 1})
    assert [error["field"] for error in reply.json()["errors"]] == ["seconds"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
def test_a_body_that_is_not_an_object_is_malformed(url: str, body: bytes) -> None:
    assert send("POST", f"{url}/clock", body, sign=False).status == 400


@pytest.mark.slow
def test_a_restart_keeps_the_clock_offset_with_the_stored_state(tmp_path: Path) -> None:
    database = str(tmp_path / "ivs.db")

    def offset(server: LocalIvsServer) -> float:
        return float(server.manage("GET", "/").json()["clockOffsetSeconds"])

    with local_ivs_server(database) as server:
        assert server.manage("POST", "/clock", {"advanceSeconds": 600}).status == 200
        assert server.manage("POST", "/clock", {"advanceSeconds": 0.5}).json()["clockOffsetSeconds"] == 600.5
        client = server.client()
        channel = client.create_channel()["channel"]["arn"]
        server.start_stream(channel)
        started_at = client.get_stream(channelArn=channel)["stream"]["startTime"]
        client.close()
    with local_ivs_server(database) as server:
        assert offset(server) == 600.5
        assert server.components.clock.now() >= started_at.timestamp(), "no stored time may be in the future"
        assert server.manage("POST", "/clock", {"advanceSeconds": 1}).json()["clockOffsetSeconds"] == 601.5
    with local_ivs_server() as server:
        assert offset(server) == 0, "a store in memory lasts for one run"


@pytest.mark.slow
def test_the_clock_is_not_advanced_if_its_offset_cannot_be_stored(tmp_path: Path) -> None:
    with local_ivs_server(str(tmp_path / "ivs.db")) as server:
        with server.resources.begin(write=True) as transaction:
            transaction._connection.execute("DROP TABLE local_ivs_numbers")  # there is no method for this
        reply = server.manage("POST", "/clock", {"advanceSeconds": 600})
        assert (reply.status, reply.headers["content-type"]) == (503, "application/problem+json")
        assert server.components.clock.offset_seconds == 0
