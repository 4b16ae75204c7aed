"""Every secret is rewrapped with the current key, and can be decrypted after a crash at any step."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.audit import REQUESTER
from tests.support.crashes import Crash, CrashPoint
from tests.support.keks import NEW, OLD, SALT, FakeKms, passphrase
from tests.support.stores import store_in_memory
from tokensvc.audit.record import AuditEvent
from tokensvc.errors import InvalidKey, WrappingKeyUnavailable, WrappingKeyUnknown
from tokensvc.jose import keypair
from tokensvc.keys import rewrap
from tokensvc.storage.vault import SqlVault
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE
from tokensvc.vault.cipher import UNNAMED, SecretCipher, kek_name, register_kek
from tokensvc.vault.kek import DerivedKeys, WrappingKey
from tokensvc.vault.key_files import KeyFiles
from tokensvc.vault.store import Vault

pytestmark = pytest.mark.slow

KINDS = ("files", "store")
KEYS = {f"k{number}": keypair.generate() for number in range(3)}


class RewrapDeployment:
    """Private keys and subject keys under an old passphrase, and the keys to rewrap them with."""

    def __init__(self, kind: str, migrated: Path, folder: Path, current: WrappingKey | None = None) -> None:
        self.store = store_in_memory(migrated)
        self.current, self.old = current or passphrase(NEW), passphrase(OLD)
        self._kind, self._folder = kind, folder
        self.reports: list[str] = []
        old_cipher = register_kek(self.store.kek_registry, self.old)
        for key_id, key in KEYS.items():
            self.vault(old_cipher).put(key_id, key)
        for version in (1, 2):
            secret = old_cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, b"%d" % version * 32)
            self.store.deployment.add_subject_key(version, secret)
        self.cipher = register_kek(self.store.kek_registry, self.current, self.old)

    def vault(self, cipher: SecretCipher) -> Vault:
        if self._kind == "store":
            return SqlVault(self.store.engine, cipher)
        return KeyFiles(self._folder, cipher)

    def context(self, crash_point: CrashPoint | None = None) -> rewrap.RewrapContext:
        crash_point = crash_point or CrashPoint()
        return rewrap.RewrapContext(
            vault=crash_point.wrap(self.vault(self.cipher)),
            deployment=crash_point.wrap(self.store.deployment),
            kek_registry=crash_point.wrap(self.store.kek_registry),
            cipher=self.cipher,
            requester=REQUESTER,
            report=self.reports.append,
        )

    def check_decryptable(self, cipher: SecretCipher) -> None:
        """Assert that every secret decrypts to its original value."""
        for key_id, key in KEYS.items():
            assert self.vault(cipher).load(key_id).private_numbers() == key.private_numbers()
        for subject_key in self.store.deployment.subject_keys():
            decrypted = cipher.decrypt_secret(SUBJECT_KEY_PURPOSE, subject_key.wrapped)
            assert decrypted == b"%d" % subject_key.version * 32

    def check_rewrapped(self) -> None:
        """Assert that no secret is under the old key, and that the registry no longer has it."""
        self.check_decryptable(SecretCipher(self.current))
        assert not rewrap.pending_secrets(self.context())
        assert [key.name for key in self.store.kek_registry.list()] == [self.current.name]


@pytest.fixture(params=KINDS)
def deployment(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> RewrapDeployment:
    return RewrapDeployment(request.param, migrated, tmp_path / "keys")


def test_all_secrets_are_rewrapped_and_then_none_is_pending(deployment: RewrapDeployment) -> None:
    pending = rewrap.pending_secrets(deployment.context())
    all_names = [*(f"private key {key_id}" for key_id in KEYS), "subject key 2", "subject key 1"]
    assert [s.name for s in pending] == all_names
    assert {s.kek_name for s in pending} == {deployment.old.name}
    deployment.check_decryptable(SecretCipher(deployment.old))
    rewrapped = rewrap.rewrap(deployment.context())
    assert [s.name for s in rewrapped] == all_names
    assert deployment.reports[0] == f"private key k0: rewrapped from {deployment.old.name} to {deployment.current.name}"
    deployment.check_rewrapped()
    assert rewrap.rewrap(deployment.context()) == []


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_crash_at_any_step_secrets_decrypt_and_the_next_run_finishes(
    kind: str, after: bool, migrated: Path, tmp_path: Path
) -> None:
    crashes = 0
    for at in itertools.count():
        deployment = RewrapDeployment(kind, migrated, tmp_path / f"keys{at}")
        try:
            rewrap.rewrap(deployment.context(CrashPoint(at, after=after)))
        except Crash:
            crashes += 1
        else:
            break
        deployment.check_decryptable(deployment.cipher)
        rewrap.rewrap(deployment.context())
        deployment.check_rewrapped()
        deployment.store.close()
    assert crashes >= 15, "every step was tried"


def test_secrets_are_rewrapped_to_kms_and_back(migrated: Path, tmp_path: Path) -> None:
    kms = FakeKms()
    deployment = RewrapDeployment("store", migrated, tmp_path, current=kms)
    rewrap.rewrap(deployment.context())
    deployment.check_rewrapped()
    deployment.current, deployment.old = passphrase(OLD), passphrase(OLD)
    deployment.cipher = register_kek(deployment.store.kek_registry, deployment.current, kms)
    assert len(rewrap.rewrap(deployment.context())) == 5
    deployment.check_rewrapped()


def test_unnamed_envelopes_get_the_name_of_their_passphrase(migrated: Path, tmp_path: Path) -> None:
    deployment = RewrapDeployment("files", migrated, tmp_path, current=passphrase(OLD))
    (tmp_path / "k0.pem").write_bytes(keypair.private_pem(KEYS["k0"], OLD.encode()))
    [newest, _] = deployment.store.deployment.subject_keys()
    unnamed = DerivedKeys(OLD, SALT).encrypt(SUBJECT_KEY_PURPOSE, b"2" * 32, bytes(12))
    deployment.store.deployment.replace_subject_key(2, newest.wrapped, unnamed)
    assert {(s.name, s.kek_name) for s in rewrap.pending_secrets(deployment.context())} == {
        ("private key k0", UNNAMED),
        ("subject key 2", UNNAMED),
    }
    rewrap.rewrap(deployment.context())
    deployment.check_rewrapped()


def test_an_undecryptable_secret_delays_no_other_and_the_old_key_stays_registered(deployment: RewrapDeployment) -> None:
    """Without the old key the secret would be lost."""
    unknown_key = passphrase("0c" * 32)
    deployment.vault(SecretCipher(unknown_key)).put("k00", keypair.generate())
    with pytest.raises(WrappingKeyUnknown, match=unknown_key.name):
        rewrap.rewrap(deployment.context())
    assert any("private key k00: skipped" in line for line in deployment.reports)
    assert [s.name for s in rewrap.pending_secrets(deployment.context())] == ["private key k00"]
    assert len(deployment.store.kek_registry.list()) == 2
    deployment.check_decryptable(SecretCipher(deployment.current))


def test_an_outage_of_kms_changes_nothing(migrated: Path, tmp_path: Path) -> None:
    kms = FakeKms()
    deployment = RewrapDeployment("files", migrated, tmp_path, current=kms)
    kms.unavailable = True
    with pytest.raises(WrappingKeyUnavailable):
        rewrap.rewrap(deployment.context())
    deployment.check_decryptable(SecretCipher(deployment.old))
    assert len(deployment.store.kek_registry.list()) == 2


class ConcurrentVault:
    """A vault in which another process acts just before each replacement."""

    def __init__(self, vault: Vault, act: str) -> None:
        self._vault, self._act = vault, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def replace(self, key_id: str, seen: bytes, wrapped: bytes) -> bool:
        if self._act == "remove":
            self._vault.remove(key_id)
        elif self._act == "rewrap":
            assert self._vault.replace(key_id, seen, wrapped + b"\n")
        return self._vault.replace(key_id, seen, wrapped)


@pytest.mark.parametrize("act", ["remove", "rewrap"])
def test_a_key_that_another_process_rewrapped_or_removed_first_is_skipped(
    deployment: RewrapDeployment, act: str
) -> None:
    context = deployment.context()
    rewrapped = rewrap.rewrap(replace(context, vault=ConcurrentVault(deployment.vault(deployment.cipher), act)))
    assert {s.name for s in rewrapped} == {"subject key 1", "subject key 2"}
    assert deployment.vault(deployment.cipher).key_ids() == (frozenset() if act == "remove" else KEYS.keys())
    assert not rewrap.pending_secrets(context)


def test_a_key_stored_under_the_old_key_meanwhile_is_rewrapped_too(deployment: RewrapDeployment) -> None:
    """By a worker with older settings, between the last check and the end."""
    late = iter([True])
    retain_only = deployment.store.kek_registry.retain_only

    class RegistryWithLateKey:
        def __getattr__(self, name: str) -> Any:
            return getattr(deployment.store.kek_registry, name)

        def retain_only(self, name: str, *, event: AuditEvent) -> None:
            if next(late, False):
                deployment.vault(SecretCipher(deployment.old)).put("late", KEYS["k0"])
            retain_only(name, event=event)

    rewrapped = rewrap.rewrap(replace(deployment.context(), kek_registry=RegistryWithLateKey()))
    assert "private key late" in {s.name for s in rewrapped}
    deployment.check_rewrapped()


def test_an_envelope_that_decrypts_to_something_else_is_not_stored(deployment: RewrapDeployment) -> None:
    class WrongKeyCipher(SecretCipher):
        def encrypt_key(self, private_key: keypair.PrivateKey) -> bytes:
            return super().encrypt_key(keypair.generate())

    with pytest.raises(Exception, match="decrypts to something else"):
        rewrap.rewrap(replace(deployment.context(), cipher=WrongKeyCipher(deployment.current, deployment.old)))
    deployment.check_decryptable(SecretCipher(deployment.current, deployment.old))


def test_a_damaged_key_is_an_error(deployment: RewrapDeployment) -> None:
    vault = deployment.vault(deployment.cipher)
    envelope = vault.read_envelope("k1")
    assert vault.replace("k1", envelope, envelope.replace(b"-----BEGIN", b"-----BEGUN"))
    with pytest.raises(InvalidKey):
        rewrap.rewrap(deployment.context())
    assert kek_name(vault.read_envelope("k0")) == deployment.current.name
