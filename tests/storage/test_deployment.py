"""Contract of `DeploymentStore`."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from tests.storage import samples
from tests.storage.samples import AT, HERE, LATER, THERE
from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import ForeignDeployment, SchemaMismatch
from tokensvc.keys.lifecycle import require_key
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.vault.store import RegisteredKek


def test_a_new_deployment_is_bound_to_nothing(store: Store) -> None:
    found = store.deployment.read()
    assert uuid.UUID(found.id).version == 4
    assert (found.control_plane, found.account) == (None, None)
    assert found.max_ttl_seconds == 3600
    assert len(found.passphrase_salt) == 32


def test_a_store_without_its_row_is_unfit(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.deployment))
    with pytest.raises(SchemaMismatch) as failed:
        store.deployment.read()
    assert "db upgrade" in failure_text(failed.value)


def test_a_control_plane_binds_for_good(store: Store) -> None:
    assert store.deployment.bind("aws").control_plane == "aws"
    assert store.deployment.bind("aws") == store.deployment.read()
    with pytest.raises(ForeignDeployment, match="control plane aws, not to local"):
        store.deployment.bind("local")
    assert store.deployment.read().control_plane == "aws"


def test_an_account_binds_for_good(store: Store) -> None:
    assert store.deployment.bind_account("123456789012").account == "123456789012"
    assert store.deployment.bind_account("123456789012") == store.deployment.read()
    with pytest.raises(ForeignDeployment, match="account 123456789012, not to 000000000000"):
        store.deployment.bind_account("000000000000")


def test_each_version_of_the_subject_key_is_kept_once(store: Store) -> None:
    assert store.deployment.subject_keys() == []
    first = store.deployment.add_subject_key(1, b"first")
    assert (first.version, first.wrapped) == (1, b"first")
    assert store.deployment.add_subject_key(1, b"another") == first
    second = store.deployment.add_subject_key(2, b"second")
    assert store.deployment.subject_keys() == [second, first]


def test_a_subject_key_is_wrapped_anew_if_it_is_still_what_was_seen(store: Store) -> None:
    kept = store.deployment.add_subject_key(1, b"old")
    before = store.versions.read()[1:]
    assert not store.deployment.replace_subject_key(1, b"other", b"new")
    assert not store.deployment.replace_subject_key(2, b"old", b"new")
    assert store.deployment.subject_keys() == [kept]
    assert store.deployment.replace_subject_key(1, b"old", b"new")
    assert store.deployment.subject_keys() == [kept._replace(wrapped=b"new")]
    assert store.versions.read()[1:] == before, "the key is the same: nobody need read it again"


def test_a_subject_key_is_dated_by_the_store(store: Store) -> None:
    created_at = store.deployment.add_subject_key(1, b"first").created_at
    assert abs(created_at.timestamp() - store.versions.read().now) < 5


def test_the_ceiling_moves(store: Store) -> None:
    assert store.deployment.set_max_ttl_seconds(60).max_ttl_seconds == 60
    assert store.deployment.set_max_ttl_seconds(7200) == store.deployment.read()
    assert store.deployment.read().max_ttl_seconds == 7200


def test_a_raised_ceiling_raises_the_longest_life_under_every_key_that_may_still_sign(store: Store) -> None:
    """A retiring key included: a worker that has not heard signs with it."""
    for key_id in ("k1", "k2", "k3", "k4"):
        samples.add_key(store, key_id, HERE)
    for key_id in ("k1", "k2", "k3"):
        store.keys.activate(key_id, HERE, AT, 3600)
    store.keys.record_deletion("k1", HERE, LATER)
    before = store.versions.read()
    store.deployment.set_max_ttl_seconds(7200)
    lives = {key.id: key.placements[0].longest_ttl_seconds for key in store.keys.list()}
    assert lives == {"k1": 3600, "k2": 7200, "k3": 7200, "k4": 0}
    after = store.versions.read()
    assert (after.deployment.number, after.keys.number) == (before.deployment.number + 1, before.keys.number + 1)


def test_a_lowered_ceiling_leaves_what_was_signed(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    before = store.versions.read()
    store.deployment.set_max_ttl_seconds(60)
    assert require_key(store.keys.list(), "k1").placements[0].longest_ttl_seconds == 3600
    after = store.versions.read()
    assert (after.deployment.number, after.keys) == (before.deployment.number + 1, before.keys)


@pytest.mark.parametrize("account_region", [HERE, THERE])
def test_a_key_that_becomes_active_has_the_ceiling_at_least(store: Store, account_region: AccountRegion) -> None:
    """Whoever activates may have read the ceiling before it rose."""
    store.deployment.set_max_ttl_seconds(7200)
    samples.add_key(store, "k1", account_region)
    assert store.keys.activate("k1", account_region, AT, 3600).placements[0].longest_ttl_seconds == 7200


def test_nothing_wrapped_shows_in_a_repr(store: Store) -> None:
    store.kek_registry.add(RegisteredKek("passphrase:0", b"the check value"), None)
    shown = repr(store.deployment.add_subject_key(1, b"the wrapped key")) + repr(store.deployment.read())
    shown += repr(store.kek_registry.list())
    assert "wrapped key" not in shown
    assert "check value" not in shown
    assert "salt" not in shown
