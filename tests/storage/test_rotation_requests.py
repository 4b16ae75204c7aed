"""Contract of `RotationRequestStore`."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.storage.samples import AT
from tests.support.audit import EVENT
from tokensvc.errors import RotationNotFound, RowUnreadable
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store


def test_a_request_is_stored(store: Store) -> None:
    request = store.rotation_requests.request(
        "r1", {"us-east-1": "k1", "us-west-2": None}, AT, "the command line", event=EVENT
    )
    assert store.rotation_requests.get("r1") == request
    assert request.previous_key_ids == {"us-east-1": "k1", "us-west-2": None}
    assert (request.requested_at, request.requested_by) == (AT, "the command line")


def test_an_unknown_request_is_not_found(store: Store) -> None:
    with pytest.raises(RotationNotFound):
        store.rotation_requests.get("r1")


def test_the_newest_come_first(store: Store) -> None:
    for number in range(4):
        store.rotation_requests.request(f"r{number}", {}, AT + timedelta(seconds=number), "a test", event=EVENT)
    assert [request.id for request in store.rotation_requests.newest(3)] == ["r3", "r2", "r1"]


def test_pruning_deletes_older_requests(store: Store) -> None:
    for number in range(3):
        store.rotation_requests.request(f"r{number}", {}, AT + timedelta(seconds=number), "a test", event=EVENT)
    assert store.rotation_requests.prune(AT + timedelta(seconds=1)) == 1
    assert store.rotation_requests.prune(AT + timedelta(seconds=1)) == 0
    assert [request.id for request in store.rotation_requests.newest(9)] == ["r2", "r1"]


def test_a_request_raises_the_version_of_the_keys(store: Store) -> None:
    before = store.versions.read().keys.number
    store.rotation_requests.request("r1", {"us-east-1": None}, AT, "a test", event=EVENT)
    assert store.versions.read().keys.number == before + 1


@pytest.mark.parametrize("stored", ["[1]", '{"us-east-1": 5}'])
def test_an_unreadable_request_does_not_block_others(store: Store, stored: str) -> None:
    store.rotation_requests.request("bad", {"us-east-1": None}, AT, "somebody", event=EVENT)
    store.rotation_requests.request("good", {"us-east-1": "k1"}, AT, "somebody", event=EVENT)
    with write_transaction(store.engine) as connection:
        of_json = "CAST(:stored AS json)" if store.engine.dialect.name == "postgresql" else ":stored"
        connection.execute(
            sa.text(f"UPDATE key_rotation_requests SET previous_key_ids = {of_json} WHERE id = 'bad'"),
            {"stored": stored},
        )
    assert [request.id for request in store.rotation_requests.newest(10)] == ["good"]
    with pytest.raises(RowUnreadable):
        store.rotation_requests.get("bad")
