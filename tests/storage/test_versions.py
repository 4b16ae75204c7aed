"""Contract of `Versions`."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from tests.storage import samples
from tests.storage.samples import AT, HERE, LATER, POLICY, channel, secret
from tests.support.audit import EVENT
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import SchemaMismatch
from tokensvc.revocations.model import Priority
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store


def numbers(store: Store) -> tuple[int, ...]:
    return tuple(version.number for version in store.versions.read().by_name().values())


def test_a_new_store_has_version_zero(store: Store) -> None:
    assert numbers(store) == (0, 0, 0, 0, 0)


def test_now_is_the_stores_clock_in_unix_seconds(store: Store) -> None:
    before = time.time()
    now = store.versions.read().now
    assert before - 0.01 <= now <= time.time() + 0.01


def test_each_change_raises_the_version_of_its_part_by_one(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    assert numbers(store) == (0, 2, 0, 0, 0)
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    assert numbers(store) == (0, 2, 1, 0, 0)
    store.channels.record([channel("a"), channel("b")])
    assert numbers(store) == (0, 2, 1, 1, 0)
    store.deployment.bind("local")
    assert numbers(store) == (1, 2, 1, 1, 0)
    store.denials.add("backend", [samples.denial("v1"), samples.denial("v2")], event=EVENT)
    assert numbers(store) == (1, 2, 1, 1, 1)
    store.revocations.accept("backend", [samples.revocation("r1")], Priority.INTERACTIVE, 910, events=[EVENT])
    assert numbers(store) == (1, 2, 1, 1, 2)


def test_a_call_without_a_change_raises_no_version(store: Store) -> None:
    """A higher version makes every worker read that part."""
    samples.add_key(store, "k1", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    store.callers.add("backend", POLICY, secret("s1"), EVENT)
    store.callers.disable("backend", AT, EVENT)
    store.channels.record([channel("a")])
    store.deployment.bind("local")
    store.deployment.add_subject_key(1, b"wrapped")
    store.denials.add("backend", [samples.denial("v1")], event=EVENT)
    before = store.versions.read()[1:]
    store.keys.record_import("k1", HERE, samples.key_arn("k1"), LATER)
    store.keys.activate("k1", HERE, LATER, 3600)
    store.keys.discard("never was", event=EVENT)
    store.callers.disable("backend", LATER, EVENT)
    store.channels.record([channel("a", LATER)])
    store.channels.record([])
    store.deployment.bind("local")
    store.deployment.add_subject_key(1, b"another")
    store.deployment.set_max_ttl_seconds(3600, event=EVENT)
    store.denials.add("backend", [samples.denial("v1")], event=EVENT)
    store.denials.add("backend", [], event=EVENT)
    assert store.versions.read()[1:] == before


def change_and_fail(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(schema.versions).values(number=99))
        raise RuntimeError


def test_a_failed_change_raises_no_version(store: Store) -> None:
    with pytest.raises(RuntimeError):
        change_and_fail(store)
    assert numbers(store) == (0, 0, 0, 0, 0)


def test_a_store_without_a_version_is_refused(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.versions).where(schema.versions.c.name == "keys"))
    with pytest.raises(SchemaMismatch) as failed:
        store.versions.read()
    assert "db upgrade" in failure_text(failed.value)
    with pytest.raises(SchemaMismatch) as failed:
        samples.add_key(store, "k1")
    assert "db upgrade" in failure_text(failed.value)
