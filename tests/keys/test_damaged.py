"""Damaged private keys: one that can never be decrypted counts as lost; one that cannot be decrypted now does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import EAST, POLICY, InMemoryDeployment
from tests.support.keks import CIPHER, NEW, OLD, FakeKms, passphrase
from tests.support.problems import texts
from tests.support.refresh_worker import CountingWorker
from tokensvc.errors import InsecureKeyFile, InvalidKey, VaultError
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys import commands
from tokensvc.keys.importing import import_key
from tokensvc.keys.lifecycle import KeyRecord, KeyState, require_key
from tokensvc.keys.private_keys import KMS_RETRY_SECONDS, PrivateKeyChecks
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.envelope import Envelope, read, write
from tokensvc.vault.key_files import KeyFiles

pytestmark = pytest.mark.slow

OTHER = keypair.generate()
Damage = Callable[[bytes], bytes]

DAMAGES: dict[str, Damage] = {
    "empty": lambda _envelope: b"",
    "junk": lambda _envelope: bytes(range(256)) * 4,
    "cut short": lambda envelope: envelope[: len(envelope) // 2],
    "cut in its first line": lambda envelope: envelope[:20],
    "no first line": lambda envelope: envelope.partition(b"-----BEGIN")[2],
    "a damaged first line": lambda envelope: envelope.replace(b"\n\n", b"\n\x00\n", 1).replace(b"M", b"N", 1),
    "a damaged body": lambda envelope: envelope[:-80] + bytes([envelope[-80] ^ 2]) + envelope[-79:],
    "another key": lambda _envelope: CIPHER.encrypt_key(OTHER),
    "a public key": lambda envelope: write(
        read(envelope)._replace(body=keypair.public_pem(OTHER.public_key()).encode())
    ),
}


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    """An active key and a standby whose propagation delay has passed."""
    made = InMemoryDeployment(migrated, tmp_path / "keys", POLICY._replace(standby=True))
    made.generate()
    made.clock.advance(POLICY.propagation_seconds)
    return made


def file_of(deployment: InMemoryDeployment, key_id: str) -> Path:
    vault = deployment.vault
    assert isinstance(vault, KeyFiles)
    return vault._directory / f"{key_id}.pem"


def damage(deployment: InMemoryDeployment, key_id: str, how: Damage = DAMAGES["junk"]) -> None:
    path = file_of(deployment, key_id)
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGES)
def test_the_standby_takes_over_from_a_damaged_key(deployment: InMemoryDeployment, how: str) -> None:
    """A worker that starts now signs after the next run of the rotation leader."""
    former, [(standby, _)] = deployment.active(), deployment.placements(EAST, KeyState.PREPARED)
    damage(deployment, former, DAMAGES[how])
    worker = CountingWorker(deployment, deployment.clock)
    worker.refresh.run_once()
    assert [keys.active for keys in worker.refresh.current.keyring.region_keys.values()] == [None]
    [result] = deployment.reconcile()
    assert deployment.active() == standby.id
    assert any(f"private key of key {former} cannot sign" in text for text in texts(result.problems))
    worker.refresh.run_once()
    [keys] = worker.refresh.current.keyring.region_keys.values()
    assert keys.active is not None
    assert keys.active.key_id == standby.id


def test_a_damaged_key_drains_and_is_deleted_like_any_other(deployment: InMemoryDeployment) -> None:
    former = deployment.active()
    damage(deployment, former)
    deployment.reconcile()
    [(record, placement)] = deployment.placements(EAST, KeyState.RETIRING)
    assert (record.id, placement.arn in deployment.ivs.pairs) == (former, True)
    deployment.drain()
    deployment.reconcile()
    deployment.check_completed(EAST)


def test_without_a_standby_a_retiring_key_is_reactivated(migrated: Path, tmp_path: Path) -> None:
    deployment = InMemoryDeployment(migrated, tmp_path / "keys")
    former = deployment.generate().id
    latter = deployment.rotate()
    damage(deployment, latter)
    deployment.reconcile()
    assert deployment.active() == former
    assert require_key(deployment.store.keys.list(), latter).placements[0].state is KeyState.RETIRING


def test_a_damaged_standby_is_replaced(deployment: InMemoryDeployment) -> None:
    [(standby, _)] = deployment.placements(EAST, KeyState.PREPARED)
    damage(deployment, standby.id)
    deployment.reconcile()
    [(latter, _)] = deployment.placements(EAST, KeyState.PREPARED)
    assert latter.id != standby.id
    deployment.check_completed(EAST)


def test_a_damaged_key_that_was_never_imported_blocks_no_other(migrated: Path, tmp_path: Path) -> None:
    deployment = InMemoryDeployment(migrated, tmp_path / "keys")
    deployment.ivs.add_foreign(EAST, 3)
    deployment.reconcile()
    deployment.ivs.pairs.clear()
    unused = deployment.store.keys.list()
    for record in unused:
        damage(deployment, record.id)
    signing = deployment.generate().id
    assert signing not in {record.id for record in unused}
    assert commands.generate(deployment.context(), [EAST]).id not in {record.id for record in unused}


def test_a_damaged_standby_does_not_take_over_after_a_compromise(deployment: InMemoryDeployment) -> None:
    former = deployment.active()
    deployment.rotate()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.reconcile()
    [(standby, _)] = deployment.placements(EAST, KeyState.PREPARED)
    deployment.is_leader = False
    damage(deployment, standby.id)
    assert deployment.context().damage(standby)
    commands.mark_compromised(deployment.context(), deployment.active(), include_standby=False)
    assert deployment.active() == former


def test_the_right_private_key_can_be_imported_again(deployment: InMemoryDeployment) -> None:
    former = deployment.active()
    private_key = deployment.vault.load(former)
    damage(deployment, former)
    assert import_key(deployment.context(), private_key, [EAST]).id == former
    assert (
        keypair.public_der(deployment.vault.load(former).public_key())
        == require_key(deployment.store.keys.list(), former).public_der
    )
    deployment.reconcile()
    assert deployment.active() == former


# --- keys that are not damaged


def stays_active(deployment: InMemoryDeployment) -> None:
    """Assert that the active key stays active after several runs."""
    active, before = deployment.active(), deployment.vault.key_ids()
    for _ in range(3):
        deployment.reconcile()
        deployment.clock.advance(KMS_RETRY_SECONDS + 1)
    assert deployment.active() == active
    assert before <= deployment.vault.key_ids()


def test_a_key_under_an_unknown_wrapping_key_is_not_damaged(deployment: InMemoryDeployment) -> None:
    path = file_of(deployment, deployment.active())
    path.write_bytes(SecretCipher(passphrase(NEW)).encrypt_key(deployment.vault.load(deployment.active())))
    stays_active(deployment)


def test_an_unnamed_envelope_under_another_passphrase_is_not_damaged(deployment: InMemoryDeployment) -> None:
    private_key, path = deployment.vault.load(deployment.active()), file_of(deployment, deployment.active())
    path.write_bytes(keypair.private_pem(private_key, b"another passphrase"))
    stays_active(deployment)


def test_a_file_with_insecure_permissions_is_not_damaged(deployment: InMemoryDeployment) -> None:
    file_of(deployment, deployment.active()).chmod(0o644)
    stays_active(deployment)


def test_a_directory_in_place_of_the_file_is_not_damage(deployment: InMemoryDeployment) -> None:
    path = file_of(deployment, deployment.active())
    path.unlink()
    path.mkdir()
    stays_active(deployment)


class Kms(InMemoryDeployment):
    """A deployment whose private keys are wrapped by a key management service."""

    def __init__(self, migrated: Path, folder: Path) -> None:
        super().__init__(migrated, None, POLICY._replace(standby=True))
        self.kms = FakeKms()
        self.vault = KeyFiles(folder, SecretCipher(self.kms))


@pytest.fixture
def kms(migrated: Path, tmp_path: Path) -> Kms:
    deployment = Kms(migrated, tmp_path / "keys")
    deployment.generate()
    deployment.clock.advance(POLICY.propagation_seconds)
    deployment.private_keys = PrivateKeyChecks()
    return deployment


def test_an_outage_of_kms_is_not_damage_and_kms_is_called_rarely(kms: Kms) -> None:
    kms.kms.unavailable = True
    stays_active(kms)
    calls = kms.kms.failed_calls
    kms.reconcile()
    kms.reconcile()
    assert kms.kms.failed_calls <= calls + 1, "a call may take seven seconds"


def test_a_data_key_that_kms_cannot_decrypt_is_damage(kms: Kms) -> None:
    former, path = kms.active(), file_of(kms, kms.active())
    path.write_bytes(write(read(path.read_bytes())._replace(data_key=os.urandom(40))))
    kms.reconcile()
    assert kms.active() != former


def test_each_private_key_is_decrypted_once(kms: Kms) -> None:
    kms.reconcile()
    opened = kms.kms.decryptions
    for _ in range(5):
        kms.clock.advance(60)
        kms.reconcile()
    assert kms.kms.decryptions == opened


# --- results of checks


class OneKey:
    """A vault with one private key in any form."""

    def __init__(self, envelope: bytes, cipher: SecretCipher = CIPHER) -> None:
        self.envelope = envelope
        self._cipher = cipher

    def read_envelope(self, _key_id: str) -> bytes:
        return self.envelope

    def load(self, _key_id: str) -> PrivateKey:
        return self._cipher.decrypt_key(self.envelope)


RECORD = KeyRecord("k1", "", keypair.public_der(OTHER.public_key()), ManualClock().at(), ())
ENVELOPE = CIPHER.encrypt_key(OTHER)


@given(st.data())
def test_changed_bytes_give_a_result_and_never_an_exception(data: st.DataObject) -> None:
    envelope = bytearray(ENVELOPE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(envelope) - 1))
        envelope[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    vault, checks = OneKey(bytes(envelope)), PrivateKeyChecks()
    result = checks.damage(vault, RECORD, 0.0)  # type: ignore[arg-type]
    try:
        opens = keypair.public_der(vault.load("k1").public_key()) == RECORD.public_der
    except VaultError:
        opens = False
    assert not (opens and result)


def test_a_result_applies_only_to_the_bytes_that_were_checked() -> None:
    vault, checks = OneKey(b"junk"), PrivateKeyChecks()
    assert checks.damage(vault, RECORD, 0.0)  # type: ignore[arg-type]
    assert checks.is_known_damaged("k1")
    vault.envelope = ENVELOPE
    assert checks.damage(vault, RECORD, 0.0) == ""  # type: ignore[arg-type]
    assert not checks.is_known_damaged("k1")


def test_a_result_shows_no_key_material() -> None:
    pem = keypair.private_pem(OTHER, b"x" * 20)
    for envelope in (b"junk", pem, write(Envelope(passphrase(OLD).name, b"", pem)), ENVELOPE[:-90]):
        text = PrivateKeyChecks().damage(OneKey(envelope), RECORD, 0.0)  # type: ignore[arg-type]
        assert not any(line.decode("ascii", "ignore") in text for line in envelope.splitlines() if len(line) > 20)


@pytest.mark.parametrize("error", [InsecureKeyFile("others may read it"), VaultError("input/output error")])
def test_an_error_of_the_system_gives_no_result(error: VaultError) -> None:
    class Failing(OneKey):
        def read_envelope(self, _key_id: str) -> bytes:
            raise error

    assert PrivateKeyChecks().damage(Failing(b""), RECORD, 0.0) == ""  # type: ignore[arg-type]


def test_an_unnamed_envelope_without_a_key_is_damaged_under_any_wrapping_key() -> None:
    with pytest.raises(InvalidKey):
        SecretCipher(FakeKms()).decrypt_key(b"junk")
