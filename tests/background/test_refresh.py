"""A refresh reads what changed, replaces the snapshot as a whole, and dates it from when the refresh started."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.audit import EVENT
from tests.support.clocks import MONOTONIC_START, START, AtTime, ManualClock, require_fresh_at
from tests.support.in_memory_deployment import EAST, WEST, InMemoryDeployment
from tests.support.keks import CIPHER, NEW, FakeKms, passphrase
from tests.support.refresh_worker import POLICY, CountingWorker, channel, stored_secret
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import SnapshotStale, WrappingKeyUnavailable, WrappingKeyUnknown
from tokensvc.jose import keypair
from tokensvc.jose.es384 import digest, verify
from tokensvc.storage import schema
from tokensvc.tokens.snapshot import require_fresh
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import SecretCipher

pytestmark = pytest.mark.slow

CALLS_AFTER_A_CHANGE = ["read", "check_history"]


def test_the_first_refresh_reads_everything_and_the_next_only_the_versions(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    worker.refresh.run_once()
    assert set(worker.take_calls()) >= {"versions", "deployment", "keys", "callers"}
    worker.refresh.run_once()  # the first refresh created the subject key, so the deployment is read again
    worker.take_calls()
    for _ in range(3):
        worker.refresh.run_once()
        assert worker.take_calls() == {"versions": ["read"]}


def test_only_what_changed_is_read_again(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    deployment.generate()
    for _ in range(2):
        worker.refresh.run_once()
    worker.take_calls()
    deployment.store.callers.add("shop", POLICY, stored_secret("one"), EVENT)
    worker.refresh.run_once()
    assert worker.take_calls() == {"versions": CALLS_AFTER_A_CHANGE, "callers": ["list"]}
    deployment.store.channels.record([channel(1)])
    worker.refresh.run_once()
    assert worker.take_calls() == {"versions": CALLS_AFTER_A_CHANGE, "channels": ["changed_since"]}
    deployment.store.deployment.set_max_ttl_seconds(60, event=EVENT)
    worker.refresh.run_once()
    assert worker.take_calls() == {"versions": CALLS_AFTER_A_CHANGE, "deployment": ["read", "subject_keys"]}
    assert worker.refresh.current.max_ttl_seconds == 60
    deployment.rotate()
    worker.refresh.run_once()
    assert worker.take_calls()["keys"] == ["list"]


def test_the_active_key_signs_and_every_imported_key_verifies(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    retiring, active = deployment.generate().id, deployment.rotate()
    worker.refresh.run_once()
    keys = worker.refresh.current.keyring.region_keys[AccountRegion(deployment.ivs.account, EAST)]
    assert keys.active is not None
    assert keys.active.key_id == active
    assert keys.active.longest_ttl_seconds == 3600
    assert set(keys.verification_keys) == {retiring, active}
    assert verify(keys.verification_keys[active], b"data", keys.active.prepared.sign(digest(b"data")))
    deployment.drain()
    deployment.rotate()
    worker.refresh.run_once()
    assert (
        retiring
        not in worker.refresh.current.keyring.region_keys[AccountRegion(deployment.ivs.account, EAST)].verification_keys
    )


def test_a_key_is_decrypted_and_prepared_once(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    deployment.generate(EAST, WEST)
    for seconds in range(3):
        deployment.store.deployment.set_max_ttl_seconds(7200 + seconds, event=EVENT)  # changes the version of keys too
        worker.refresh.run_once()
    assert worker.signers == 1, "one key, two regions, three refreshes"
    deployment.rotate(EAST, WEST)
    worker.refresh.run_once()
    assert worker.signers == 2
    assert len(worker.refresh._prepared) == 1, "a key that no longer signs is dropped"


def test_an_undecryptable_key_affects_only_its_region(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    good, bad = deployment.import_and_activate(WEST), deployment.import_and_activate(EAST)
    private_key = deployment.vault.load(bad.id)
    deployment.vault.remove(bad.id)
    worker.refresh.run_once()
    region_keys = worker.refresh.current.keyring.region_keys
    assert region_keys[AccountRegion(deployment.ivs.account, EAST)].active is None
    assert bad.id in region_keys[AccountRegion(deployment.ivs.account, EAST)].problem
    assert bad.id in region_keys[AccountRegion(deployment.ivs.account, EAST)].verification_keys, "its tokens stay valid"
    west = region_keys[AccountRegion(deployment.ivs.account, WEST)]
    assert west.active is not None
    assert west.active.key_id == good.id
    deployment.vault.put(bad.id, private_key)
    worker.refresh.run_once()
    repaired = worker.refresh.current.keyring.region_keys[AccountRegion(deployment.ivs.account, EAST)]
    assert repaired.active is not None, "decrypting it is retried although no version changed"
    assert not repaired.problem


def test_a_private_key_that_does_not_match_never_signs(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    """A misplaced key file would otherwise sign tokens that IVS rejects."""
    record = deployment.generate()
    deployment.vault.remove(record.id)
    deployment.vault.put(record.id, keypair.generate())
    worker.refresh.run_once()
    keys = worker.refresh.current.keyring.region_keys[AccountRegion(deployment.ivs.account, EAST)]
    assert keys.active is None
    assert record.id in keys.problem


def test_a_damaged_public_key_affects_only_its_region(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    bad, good = deployment.import_and_activate(EAST), deployment.import_and_activate(WEST)
    with deployment.store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE key_pairs SET public_der = x'00' WHERE id = :id"), {"id": bad.id})
    worker.refresh.run_once()
    region_keys = worker.refresh.current.keyring.region_keys
    assert region_keys[AccountRegion(deployment.ivs.account, EAST)].active is None
    assert bad.id in region_keys[AccountRegion(deployment.ivs.account, EAST)].problem
    west = region_keys[AccountRegion(deployment.ivs.account, WEST)].active
    assert west is not None
    assert west.key_id == good.id


def test_a_disabled_caller_is_marked_with_the_next_refresh(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    deployment.store.callers.add("shop", POLICY, stored_secret("one"), EVENT)
    deployment.store.callers.add("other", POLICY, stored_secret("two"), EVENT)
    worker.refresh.run_once()
    assert set(worker.refresh.current.secrets) == {"one", "two"}
    assert worker.refresh.current.secrets["one"].caller.name == "shop"
    deployment.store.callers.disable("shop", ManualClock().at(), EVENT)
    worker.refresh.run_once()
    disabled = {key_id: known.disabled for key_id, known in worker.refresh.current.secrets.items()}
    assert disabled == {"one": True, "two": False}


def test_callers_with_equal_policies_share_one_policy_object(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    for name, policy in {"one": POLICY, "two": POLICY, "three": replace(POLICY, max_ttl_seconds=60)}.items():
        deployment.store.callers.add(name, policy, stored_secret(name), EVENT)
    worker.refresh.run_once()
    policies = {key_id: secret.caller.policy for key_id, secret in worker.refresh.current.secrets.items()}
    assert policies["one"] is policies["two"]
    assert policies["one"] == POLICY
    assert policies["three"].max_ttl_seconds == 60


def test_both_keys_of_a_caller_are_valid_while_one_is_replaced(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    until = ManualClock().at()
    deployment.store.callers.add("shop", POLICY, stored_secret("one"), EVENT)
    deployment.store.callers.rotate_secret("shop", "one", stored_secret("two"), until, EVENT)
    worker.refresh.run_once()
    secrets = worker.refresh.current.secrets
    assert (secrets["one"].expires_at, secrets["two"].expires_at) == (until, None)


def test_two_racing_workers_create_one_subject_key(deployment: InMemoryDeployment, clock: ManualClock) -> None:
    workers = [CountingWorker(deployment, clock) for _ in range(2)]
    ready = threading.Barrier(2, timeout=30)

    def race(worker: CountingWorker) -> None:
        ready.wait()
        worker.refresh.run_once()

    threads = [threading.Thread(target=race, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [stored_key] = deployment.store.deployment.subject_keys()
    assert {worker.refresh.current.subject_key for worker in workers} == {
        CIPHER.decrypt_secret(SUBJECT_KEY_PURPOSE, stored_key.wrapped)
    }
    assert workers[0].refresh.current.subject_key not in stored_key.wrapped
    assert len(workers[0].refresh.current.subject_key) == 32


def test_a_worker_with_another_passphrase_creates_no_subject_key(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    worker.refresh.run_once()
    other = CountingWorker(deployment, clock, SecretCipher(passphrase(NEW)))
    with pytest.raises(WrappingKeyUnknown):
        other.refresh.run_once()
    assert len(deployment.store.deployment.subject_keys()) == 1


def test_the_subject_key_is_decrypted_once_so_a_running_worker_needs_no_wrapping_key(
    deployment: InMemoryDeployment, clock: ManualClock
) -> None:
    kms = FakeKms()
    worker = CountingWorker(deployment, clock, SecretCipher(kms))
    worker.refresh.run_once()
    subject_key = worker.refresh.current.subject_key
    kms.unavailable = True
    deployment.store.deployment.set_max_ttl_seconds(60, event=EVENT)
    worker.refresh.run_once()
    assert worker.refresh.current.max_ttl_seconds == 60
    assert worker.refresh.current.subject_key == subject_key
    with pytest.raises(WrappingKeyUnavailable):
        CountingWorker(deployment, clock, SecretCipher(kms)).refresh.run_once()


def test_the_lease_starts_with_the_refresh(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    started_at = clock.monotonic()
    read_versions = deployment.store.versions.read

    def read_slowly() -> Any:
        clock.advance(3)
        return read_versions()

    check_history = deployment.store.versions.check_history
    worker.ports["versions"].port = SimpleNamespace(read=read_slowly, check_history=check_history)
    worker.refresh.run_once()
    assert worker.refresh.current.refresh_started_at == started_at
    require_fresh_at(worker.refresh.current, started_at + 900, 900)
    with pytest.raises(SnapshotStale):
        require_fresh_at(worker.refresh.current, started_at + 901, 900)


def is_fresh(worker: CountingWorker, clock: ManualClock) -> bool:
    try:
        require_fresh(worker.refresh.current, clock.now(), clock.monotonic(), 900)
    except SnapshotStale:
        return False
    return True


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_jump_is_noticed_before_the_next_refresh_and_by_it(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock, jump: float
) -> None:
    """The store's clock has not jumped. If it has, as with a store on the same machine, it confirms the new time."""
    worker.refresh.versions = AtTime(deployment.store.versions, lambda: START + clock.monotonic() - MONOTONIC_START)
    clock.wall = START
    worker.refresh.run_once()
    assert is_fresh(worker, clock)
    clock.jump(jump)
    assert not is_fresh(worker, clock)
    worker.refresh.run_once()
    assert not is_fresh(worker, clock)
    clock.jump(-jump)
    worker.refresh.run_once()
    assert is_fresh(worker, clock)
    clock.jump(jump)
    worker.refresh.versions = AtTime(deployment.store.versions, clock.now)
    worker.refresh.run_once()
    assert is_fresh(worker, clock)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_jump_during_the_query_is_not_confirmed_by_the_store(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock, jump: float
) -> None:
    def now() -> float:
        before = clock.now()
        clock.jump(jump)
        return before

    worker.refresh.versions = AtTime(deployment.store.versions, now)
    worker.refresh.run_once()
    assert not is_fresh(worker, clock)
    clock.jump(-jump)
    assert is_fresh(worker, clock)


def test_a_lost_subject_key_affects_nothing_else_and_is_used_when_it_is_back(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    worker.refresh.run_once()
    subject_key = worker.refresh.current.subject_key
    [stored_key] = deployment.store.deployment.subject_keys()
    with deployment.store.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM subject_keys"))
    deployment.store.deployment.set_max_ttl_seconds(60, event=EVENT)
    deployment.store.callers.add("shop", POLICY, stored_secret("one"), EVENT)
    for _ in range(2):
        worker.refresh.run_once()
    assert worker.refresh.current.subject_key == b""
    assert worker.refresh.current.max_ttl_seconds == 60
    assert set(worker.refresh.current.secrets) == {"one"}
    [warning] = worker.refresh.current.damage
    assert "subject key is missing" in warning
    with deployment.store.engine.begin() as connection:
        connection.execute(sa.insert(schema.subject_keys).values(stored_key._asdict()))
    worker.refresh.run_once()
    assert worker.refresh.current.subject_key == subject_key
    assert worker.refresh.current.damage == ()


def test_the_origins_of_policies_are_known_by_caller(deployment: InMemoryDeployment, worker: CountingWorker) -> None:
    callers, origins = deployment.store.callers, ("https://app.example.com",)
    callers.add("app", replace(POLICY, cors_origins=origins), stored_secret("one"), EVENT)
    callers.add("shop", POLICY, stored_secret("two"), EVENT)
    worker.refresh.run_once()
    before = worker.refresh.current.cors_origins
    assert before == {"app": origins}
    worker.refresh.run_once()
    assert worker.refresh.current.cors_origins is before
