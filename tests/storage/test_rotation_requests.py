"""Contract of `RotationRequestStore`."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.storage.samples import AT
from tokensvc.errors import RotationNotFound, RowUnreadable
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store


def test_a_wish_is_kept_as_it_was_said(store: Store) -> None:
    wish = store.rotations.request("r1", {"us-east-1": "k1", "us-west-2": None}, AT, "the command line")
    assert store.rotations.get("r1") == wish
    assert wish.previous_key_ids == {"us-east-1": "k1", "us-west-2": None}
    assert (wish.requested_at, wish.requested_by) == (AT, "the command line")


def test_an_unknown_wish_is_refused(store: Store) -> None:
    with pytest.raises(RotationNotFound):
        store.rotations.get("r1")


def test_the_newest_come_first(store: Store) -> None:
    for number in range(4):
        store.rotations.request(f"r{number}", {}, AT + timedelta(seconds=number), "a test")
    assert [wish.id for wish in store.rotations.newest(3)] == ["r3", "r2", "r1"]


def test_what_was_asked_for_before_an_instant_is_forgotten(store: Store) -> None:
    for number in range(3):
        store.rotations.request(f"r{number}", {}, AT + timedelta(seconds=number), "a test")
    assert store.rotations.prune(AT + timedelta(seconds=1)) == 1
    assert store.rotations.prune(AT + timedelta(seconds=1)) == 0
    assert [wish.id for wish in store.rotations.newest(9)] == ["r2", "r1"]


def test_every_worker_hears_of_a_wish_by_the_version_of_the_keys(store: Store) -> None:
    before = store.versions.read().keys.number
    store.rotations.request("r1", {"us-east-1": None}, AT, "a test")
    assert store.versions.read().keys.number == before + 1


@pytest.mark.parametrize("kept", ["[1]", '{"us-east-1": 5}'])
def test_a_rotation_that_cannot_be_read_holds_up_no_other(store: Store, kept: str) -> None:
    store.rotations.request("bad", {"us-east-1": None}, AT, "somebody")
    store.rotations.request("good", {"us-east-1": "k1"}, AT, "somebody")
    with write_transaction(store.engine) as connection:
        of_json = "CAST(:kept AS json)" if store.engine.dialect.name == "postgresql" else ":kept"
        connection.execute(
            sa.text(f"UPDATE key_rotation_requests SET previous_key_ids = {of_json} WHERE id = 'bad'"), {"kept": kept}
        )
    assert [wish.id for wish in store.rotations.newest(10)] == ["good"]
    with pytest.raises(RowUnreadable):
        store.rotations.get("bad")
