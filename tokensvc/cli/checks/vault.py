"""Checks the vault: its location, its wrapping keys, and whether the active private keys can be decrypted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tokensvc.cli.checks.finding import Finding, failure_finding, needs_reconcile, try_check
from tokensvc.cli.output import count_of
from tokensvc.container.vault import make_read_only_cipher, open_vault, required_kek_settings, vault_location
from tokensvc.errors import InvalidKey, PrivateKeyMissing, VaultError
from tokensvc.keys.lifecycle import KeyRecord, KeyState
from tokensvc.keys.private_keys import open_private_key
from tokensvc.settings import Settings
from tokensvc.storage.store import Store
from tokensvc.vault.cipher import kek_name
from tokensvc.vault.store import Vault

REWRAP = "tokensvc keys rewrap"
RESET_SUBJECT_KEYS = (
    "SQL: DELETE FROM subject_keys; UPDATE deployment SET subject_keys_created = 0   (only without a backup to restore "
    "the row from: it voids every denial by subject; restart the workers, then deny those viewers again)"
)
USE_STORE_VAULT = (
    "export TOKENSVC_VAULT=store   (or shared-file:DIR; tokensvc keys rewrap --from VAULT copies keys into it)"
)
FIX_PERMISSIONS = 'chown -R "$(id -un)" DIR && chmod -R u+rwX,go= DIR   (as root; DIR is the vault)'
DESCRIBE_KMS_KEY = (
    "aws kms describe-key --key-id ARN   (until it succeeds: check credentials, permissions and the key's state)"
)


def check_vault(settings: Settings, store: Store) -> Iterator[Finding]:
    """Check the vault. Changes nothing: a wrapping key that is new to the store is not registered."""
    if any(getattr(settings, name) is None for name in required_kek_settings(settings)):
        return  # already reported as a missing setting
    cipher, finding = try_check("wrapping keys", lambda: make_read_only_cipher(settings, store), DESCRIBE_KMS_KEY)
    if cipher is None:
        yield finding
        return
    previous = f"; for decryption only: {', '.join(cipher.names[1:])}" if cipher.names[1:] else ""
    yield Finding(True, "wrapping keys", f"encrypting with {cipher.current}{previous}")
    vault, finding = try_check("vault", lambda: open_vault(settings, store, cipher), USE_STORE_VAULT)
    stored_ids, finding = try_check("vault", vault.key_ids, FIX_PERMISSIONS) if vault else (None, finding)
    if vault is None or stored_ids is None:
        yield finding
        return
    yield Finding(True, "vault", f"{vault_location(settings)}; {count_of(len(stored_ids), 'private key')}")
    private_keys: Counter[str] = Counter()
    yield from _check_private_keys(store.keys.list(), vault, stored_ids, private_keys)
    stored_subject_keys, finding = try_check("subject key", store.deployment.subject_keys, RESET_SUBJECT_KEYS)
    if stored_subject_keys is None:
        yield finding
    subject_keys = Counter(kek_name(key.wrapped) for key in stored_subject_keys or ())
    for check, count_by_kek in (("private keys", private_keys), ("subject keys", subject_keys)):
        for name in sorted(count_by_kek.keys() - {cipher.current}):
            count = f"{count_by_kek[name]} of {count_by_kek.total()}"
            yield Finding(False, check, f"{count} still encrypted with {name} instead of {cipher.current}", REWRAP)
    for name in cipher.names[1:]:
        if not private_keys[name] + subject_keys[name]:
            yield Finding(True, name, "no longer in use; it can be removed from the settings")


def _check_private_keys(
    records: Sequence[KeyRecord], vault: Vault, stored_ids: frozenset[str], count_by_kek: Counter[str]
) -> Iterator[Finding]:
    """Report active keys, and keys that cannot be read or decrypted; counts the keys by wrapping key."""
    known = {record.id: record for record in records}
    signing = {r.id for r in records if any(placement.state is KeyState.ACTIVE for placement in r.placements)}
    for key_id in sorted(stored_ids | signing):
        check, record = f"private key {key_id}", known.get(key_id)
        try:
            envelope = vault.read_envelope(key_id)
        except PrivateKeyMissing as missing:
            yield needs_reconcile(check, missing.message)
            continue
        except VaultError as failure:
            yield failure_finding(check, failure, FIX_PERMISSIONS)
            continue
        if record is not None:
            try:
                open_private_key(vault, record)
            except InvalidKey as damaged:
                yield _damaged_key(record, damaged)
                continue
            except VaultError as failure:
                if key_id in signing:
                    yield failure_finding(check, failure, DESCRIBE_KMS_KEY)
            else:
                if key_id in signing:
                    yield Finding(True, check, "active, can be decrypted")
        count_by_kek[kek_name(envelope)] += 1


def _damaged_key(record: KeyRecord, damage: InvalidKey) -> Finding:
    """A damaged private key: a problem unless the key only drains, or is retired, and so no longer signs."""
    check, detail = f"private key {record.id}", f"cannot sign: {damage.message}"
    if not record.placements:
        return Finding(False, check, detail, f"tokensvc keys delete {record.id}")
    is_needed = any(placement.state in {KeyState.PREPARED, KeyState.ACTIVE} for placement in record.placements)
    return needs_reconcile(check, detail, ok=not is_needed)
