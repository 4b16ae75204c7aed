"""Contract of `DeploymentStore`."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from tests.storage import samples
from tests.storage.samples import AT, HERE, LATER, THERE
from tests.support.audit import EVENT
from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import ForeignDeployment, SchemaMismatch
from tokensvc.keys.lifecycle import require_key
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.vault.store import RegisteredKek

pytestmark = pytest.mark.slow


def test_a_new_deployment_is_not_bound(store: Store) -> None:
    found = store.deployment.read()
    assert uuid.UUID(found.id).version == 4
    assert (found.control_plane, found.account) == (None, None)
    assert found.max_ttl_seconds == 3600
    assert len(found.passphrase_salt) == 32


def test_a_store_without_a_deployment_record_is_refused(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.deployment))
    with pytest.raises(SchemaMismatch) as failed:
        store.deployment.read()
    assert "db upgrade" in failure_text(failed.value)


def test_a_control_plane_is_bound_permanently(store: Store) -> None:
    assert store.deployment.bind("aws").control_plane == "aws"
    assert store.deployment.bind("aws") == store.deployment.read()
    with pytest.raises(ForeignDeployment, match="control plane aws, not to local"):
        store.deployment.bind("local")
    assert store.deployment.read().control_plane == "aws"


def test_an_account_is_bound_permanently(store: Store) -> None:
    assert store.deployment.bind_account("123456789012").account == "123456789012"
    assert store.deployment.bind_account("123456789012") == store.deployment.read()
    with pytest.raises(ForeignDeployment, match="account 123456789012, not to 000000000000"):
        store.deployment.bind_account("000000000000")


def test_each_version_of_the_subject_key_is_stored_once(store: Store) -> None:
    assert store.deployment.subject_keys() == []
    first = store.deployment.add_subject_key(1, b"first")
    assert (first.version, first.wrapped) == (1, b"first")
    assert store.deployment.add_subject_key(1, b"another") == first
    second = store.deployment.add_subject_key(2, b"second")
    assert store.deployment.subject_keys() == [second, first]


def test_a_subject_key_is_rewrapped_only_if_unchanged(store: Store) -> None:
    stored = store.deployment.add_subject_key(1, b"old")
    before = store.versions.read()[1:]
    assert not store.deployment.replace_subject_key(1, b"other", b"new")
    assert not store.deployment.replace_subject_key(2, b"old", b"new")
    assert store.deployment.subject_keys() == [stored]
    assert store.deployment.replace_subject_key(1, b"old", b"new")
    assert store.deployment.subject_keys() == [stored._replace(wrapped=b"new")]
    assert store.versions.read()[1:] == before, "the key is the same, so no worker needs to read it again"


def test_a_subject_key_has_the_time_of_the_store(store: Store) -> None:
    created_at = store.deployment.add_subject_key(1, b"first").created_at
    assert abs(created_at.timestamp() - store.versions.read().now) < 5


def test_the_max_ttl_can_be_changed(store: Store) -> None:
    assert store.deployment.set_max_ttl_seconds(60, event=EVENT).max_ttl_seconds == 60
    assert store.deployment.set_max_ttl_seconds(7200, event=EVENT) == store.deployment.read()
    assert store.deployment.read().max_ttl_seconds == 7200


def test_raising_the_max_ttl_raises_the_longest_ttl_of_keys_that_may_sign(store: Store) -> None:
    """A retiring key included, since a stale worker may still sign with it."""
    for key_id in ("k1", "k2", "k3", "k4"):
        samples.add_key(store, key_id, HERE)
    for key_id in ("k1", "k2", "k3"):
        store.keys.activate(key_id, HERE, AT, 3600)
    store.keys.record_deletion("k1", HERE, LATER)
    before = store.versions.read()
    store.deployment.set_max_ttl_seconds(7200, event=EVENT)
    longest_ttls = {key.id: key.placements[0].longest_ttl_seconds for key in store.keys.list()}
    assert longest_ttls == {"k1": 3600, "k2": 7200, "k3": 7200, "k4": 0}
    after = store.versions.read()
    assert (after.deployment.number, after.keys.number) == (before.deployment.number + 1, before.keys.number + 1)


def test_lowering_the_max_ttl_keeps_the_longest_ttl_of_keys(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    before = store.versions.read()
    store.deployment.set_max_ttl_seconds(60, event=EVENT)
    assert require_key(store.keys.list(), "k1").placements[0].longest_ttl_seconds == 3600
    after = store.versions.read()
    assert (after.deployment.number, after.keys) == (before.deployment.number + 1, before.keys)


@pytest.mark.parametrize("account_region", [HERE, THERE])
def test_an_activated_key_has_at_least_the_max_ttl(store: Store, account_region: AccountRegion) -> None:
    """The process that activates the key may have read the limit before it was raised."""
    store.deployment.set_max_ttl_seconds(7200, event=EVENT)
    samples.add_key(store, "k1", account_region)
    assert store.keys.activate("k1", account_region, AT, 3600).placements[0].longest_ttl_seconds == 7200


def test_no_wrapped_secret_shows_in_a_repr(store: Store) -> None:
    store.kek_registry.add(RegisteredKek("passphrase:0", b"the check value"), None)
    shown = repr(store.deployment.add_subject_key(1, b"the wrapped key")) + repr(store.deployment.read())
    shown += repr(store.kek_registry.list())
    assert "wrapped key" not in shown
    assert "check value" not in shown
    assert "salt" not in shown
