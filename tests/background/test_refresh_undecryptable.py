"""A worker that cannot decrypt the active key reports it, and signs with the retiring key for as long as is safe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.support.audit import REQUESTER
from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.keks import CIPHER, NEW, passphrase
from tests.support.refresh_worker import CountingWorker
from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.errors import NoSigningKey
from tokensvc.jose.es384 import digest, verify
from tokensvc.keys.lifecycle import KeyState
from tokensvc.keys.rewrap import RewrapContext, rewrap
from tokensvc.tokens.keyring import RegionKeys
from tokensvc.vault.cipher import SecretCipher, register_kek
from tokensvc.vault.key_files import KeyFiles
from tokensvc.vault.store import Vault

pytestmark = pytest.mark.slow


@pytest.fixture
def log_lines() -> Any:
    """The log lines of a test."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def rotated(deployment: InMemoryDeployment, clock: ManualClock) -> InMemoryDeployment:
    """A deployment on the test's clock whose second key is encrypted with a passphrase that the worker does not
    have."""
    deployment.clock = clock
    deployment.generate()
    vault = deployment.vault
    deployment.vault = KeyFiles(_folder(vault), SecretCipher(passphrase(NEW), passphrase()))
    deployment.rotate()
    deployment.vault = vault
    return deployment


def refreshed_keys(deployment: InMemoryDeployment, worker: CountingWorker) -> RegionKeys:
    """The worker's keys of the first region after a refresh."""
    worker.refresh.run_once()
    return worker.refresh.current.keyring.region_keys[AccountRegion(deployment.ivs.account, EAST)]


def retiring_key_id(deployment: InMemoryDeployment) -> str:
    [(record, _)] = deployment.placements(EAST, KeyState.RETIRING)
    return record.id


def test_the_retiring_key_signs_and_the_problem_is_reported(rotated: InMemoryDeployment, clock: ManualClock) -> None:
    keys = refreshed_keys(rotated, worker := CountingWorker(rotated, clock))
    assert keys.active is not None
    assert keys.active.key_id == retiring_key_id(rotated)
    assert verify(keys.verification_keys[keys.active.key_id], b"data", keys.active.prepared.sign(digest(b"data")))
    assert f"this worker cannot decrypt the active key {rotated.active()}" in keys.problem
    assert f"the retiring key {retiring_key_id(rotated)} signs until 20" in keys.problem
    assert worker.refresh.current.keyring.undecryptable == {rotated.active()}


def test_it_signs_only_while_its_tokens_are_certain_to_be_accepted(
    rotated: InMemoryDeployment, clock: ManualClock
) -> None:
    """Until max_staleness after it started retiring, less the clock skew; an older snapshot does not extend that."""
    [(_, placement)] = rotated.placements(EAST, KeyState.RETIRING)
    assert placement.retiring_at is not None
    not_after = placement.retiring_at.timestamp() + POLICY.max_staleness_seconds - CLOCK_SKEW_SECONDS
    worker = CountingWorker(rotated, clock)
    clock.advance(not_after - clock.now() - 1)
    keys, keyring = refreshed_keys(rotated, worker), worker.refresh.current.keyring
    assert keys.active is not None
    assert keys.active.not_after == not_after
    assert keyring.signing_key(placement.account_region, not_after).key_id == retiring_key_id(rotated)
    with pytest.raises(NoSigningKey, match="this worker cannot decrypt the active key"):
        keyring.signing_key(placement.account_region, not_after + 1)
    clock.advance(2)
    keys = refreshed_keys(rotated, worker)
    assert keys.active is None
    assert keys.problem == f"this worker cannot decrypt the active key {rotated.active()}"


def test_every_token_it_signs_expires_before_its_pair_is_deleted(
    rotated: InMemoryDeployment, clock: ManualClock
) -> None:
    [(record, placement)] = rotated.placements(EAST, KeyState.RETIRING)
    keys = refreshed_keys(rotated, CountingWorker(rotated, clock))
    assert keys.active is not None
    assert keys.active.longest_ttl_seconds == placement.longest_ttl_seconds
    last_signed_at = keys.active.not_after + CLOCK_SKEW_SECONDS  # by the store's clock
    last_token_ends_at = last_signed_at + keys.active.longest_ttl_seconds
    clock.advance(last_token_ends_at - clock.now() - 1)
    rotated.reconcile()
    assert placement.arn in rotated.ivs.pairs
    clock.advance(2 * CLOCK_SKEW_SECONDS + 2)
    rotated.reconcile()
    assert placement.arn not in rotated.ivs.pairs, "it is deleted no later than necessary"
    assert record.id not in rotated.vault.key_ids()


def test_it_signs_only_while_it_is_retiring(rotated: InMemoryDeployment, clock: ManualClock) -> None:
    [(record, placement)] = rotated.placements(EAST, KeyState.RETIRING)
    rotated.store.keys.record_deletion(record.id, placement.account_region, clock.at())
    keys = refreshed_keys(rotated, CountingWorker(rotated, clock))
    assert keys.active is None
    assert "cannot decrypt the active key" in keys.problem


def test_of_two_retiring_keys_the_last_active_one_signs(deployment: InMemoryDeployment, clock: ManualClock) -> None:
    deployment.clock = clock
    deployment.generate()
    second, third = deployment.rotate(), deployment.rotate()
    deployment.vault.remove(third)
    keys = refreshed_keys(deployment, worker := CountingWorker(deployment, clock))
    assert keys.active is not None
    assert keys.active.key_id == second
    deployment.vault.remove(second)
    worker.refresh = CountingWorker(deployment, clock).refresh
    keys = refreshed_keys(deployment, worker)
    assert keys.active is not None
    assert keys.active.key_id not in (second, third)
    assert worker.refresh.current.keyring.undecryptable == {second, third}


def test_a_worker_that_has_signed_with_it_need_not_decrypt_it_again(
    deployment: InMemoryDeployment, clock: ManualClock
) -> None:
    deployment.clock = clock
    first, worker = deployment.generate(), CountingWorker(deployment, clock)
    worker.refresh.run_once()
    second = deployment.rotate()
    for key_id in (first.id, second):
        deployment.vault.remove(key_id)
    keys = refreshed_keys(deployment, worker)
    assert keys.active is not None
    assert keys.active.key_id == first.id
    assert worker.signers == 1


def test_the_active_key_signs_again_once_it_can_be_decrypted(rotated: InMemoryDeployment, clock: ManualClock) -> None:
    worker = CountingWorker(rotated, clock)
    assert refreshed_keys(rotated, worker).problem
    worker.refresh.vault = KeyFiles(_folder(rotated.vault), SecretCipher(passphrase(), passphrase(NEW)))
    keys = refreshed_keys(rotated, worker)
    assert keys.active is not None
    assert keys.active.key_id == rotated.active()
    assert not keys.problem
    assert not worker.refresh.current.keyring.undecryptable


def test_each_change_is_logged_once(rotated: InMemoryDeployment, clock: ManualClock, log_lines: Any) -> None:
    worker = CountingWorker(rotated, clock)
    for _ in range(3):
        worker.refresh.run_once()
    [line] = [line for line in log_lines if line["log_level"] == "error"]
    assert line["key_id"] == rotated.active()
    assert passphrase(NEW).name in line["error"]
    worker.refresh.vault = KeyFiles(_folder(rotated.vault) / "elsewhere", CIPHER)
    for _ in range(2):
        worker.refresh.run_once()
    assert [line["log_level"] for line in log_lines] == ["error", "error"], "a new reason is logged"
    worker.refresh.vault = KeyFiles(_folder(rotated.vault), SecretCipher(passphrase(), passphrase(NEW)))
    for _ in range(2):
        worker.refresh.run_once()
    assert [line["log_level"] for line in log_lines] == ["error", "error", "info"]


def test_a_key_of_two_regions_is_tried_once_per_refresh(deployment: InMemoryDeployment, clock: ManualClock) -> None:
    record = deployment.generate(EAST, WEST)
    loaded: list[str] = []

    class RecordingVault(KeyFiles):
        def load(self, key_id: str) -> Any:
            loaded.append(key_id)
            return super().load(key_id)

    deployment.vault.remove(record.id)
    worker = CountingWorker(deployment, clock)
    worker.refresh.vault = RecordingVault(_folder(deployment.vault), CIPHER)
    worker.refresh.run_once()
    assert loaded == [record.id]
    assert all(keys.problem for keys in worker.refresh.current.keyring.region_keys.values())


def test_workers_with_both_wrapping_keys_continue_through_a_rewrap(
    deployment: InMemoryDeployment, clock: ManualClock
) -> None:
    """One worker runs before the rewrap, and one starts after it."""
    deployment.generate()
    cipher = SecretCipher(passphrase(NEW), passphrase())
    vault = KeyFiles(_folder(deployment.vault), cipher)
    before, after = CountingWorker(deployment, clock, cipher), CountingWorker(deployment, clock, cipher)
    before.refresh.vault = after.refresh.vault = vault
    before.refresh.run_once()
    subject_key = before.refresh.current.subject_key
    register_kek(deployment.store.kek_registry, passphrase())
    register_kek(deployment.store.kek_registry, passphrase(NEW), passphrase())
    rewrapped = rewrap(
        RewrapContext(
            vault=vault,
            deployment=deployment.store.deployment,
            kek_registry=deployment.store.kek_registry,
            cipher=cipher,
            requester=REQUESTER,
            report=deployment.reports.append,
        )
    )
    assert [secret.name for secret in rewrapped] == [f"private key {deployment.active()}"]
    deployment.vault = vault
    deployment.rotate()
    for worker in (before, after):
        keys = refreshed_keys(deployment, worker)
        assert keys.active is not None
        assert keys.active.key_id == deployment.active()
        assert not keys.problem
        assert worker.refresh.current.subject_key == subject_key


def _folder(vault: Vault) -> Path:
    assert isinstance(vault, KeyFiles)
    return vault._directory


def test_a_retiring_key_whose_pair_is_being_deleted_does_not_sign(
    rotated: InMemoryDeployment, clock: ManualClock
) -> None:
    """IVS may have deleted it already: another process, with another policy or because it found the pair missing, has
    started the deletion."""
    [(_, placement)] = rotated.placements(EAST, KeyState.RETIRING)
    worker = CountingWorker(rotated, clock)
    assert refreshed_keys(rotated, worker).active is not None
    rotated.store.keys.start_deletion(placement, clock.at())
    assert refreshed_keys(rotated, worker).active is None
