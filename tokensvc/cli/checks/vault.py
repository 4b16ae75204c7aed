"""What `tokensvc doctor` finds in the vault: where it is, what wraps it, whether the keys that sign can be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tokensvc.cli.checks.finding import Finding, try_check, failure_finding, needs_reconcile
from tokensvc.container.vault import vault_location, open_vault, make_read_only_cipher, required_kek_settings
from tokensvc.errors import InvalidKey, PrivateKeyMissing, VaultError
from tokensvc.keys.lifecycle import KeyRecord, KeyState
from tokensvc.keys.private_keys import open_private_key
from tokensvc.settings import Settings
from tokensvc.storage.store import Store
from tokensvc.vault.cipher import kek_name
from tokensvc.vault.store import Vault

REWRAP = "tokensvc keys rewrap"
RESET_SUBJECT_KEYS = (
    "SQL: DELETE FROM subject_keys; UPDATE deployment SET subject_keys_made = 0   (only without a backup to put the "
    "row back from: every denial by subject is void then; restart the workers, and deny anew)"
)
USE_STORE_VAULT = "export TOKENSVC_VAULT=store   (or shared-file:DIR; tokensvc keys rewrap --from VAULT moves keys into it)"
FIX_PERMISSIONS = 'chown -R "$(id -un)" DIR && chmod -R u+rwX,go= DIR   (as root; the directory of the vault)'
DESCRIBE_KMS_KEY = "aws kms describe-key --key-id ARN   (until it answers: credentials, permissions and the key are the account's)"


def check_vault(settings: Settings, store: Store) -> Iterator[Finding]:
    """Look at it; nothing is changed, so a wrapping key that is new to the store does not join its list."""
    if any(getattr(settings, name) is None for name in required_kek_settings(settings)):
        return  # said among the settings
    cipher, finding = try_check("wrapping keys", lambda: make_read_only_cipher(settings, store), DESCRIBE_KMS_KEY)
    if cipher is None:
        yield finding
        return
    opens = f"; {' and '.join(cipher.names[1:])} only open" if cipher.names[1:] else ""
    yield Finding(True, "wrapping keys", f"{cipher.current} wraps{opens}")
    vault, finding = try_check("vault", lambda: open_vault(settings, store, cipher), USE_STORE_VAULT)
    kept, finding = try_check("vault", vault.key_ids, FIX_PERMISSIONS) if vault else (None, finding)
    if vault is None or kept is None:
        yield finding
        return
    yield Finding(True, "vault", f"{vault_location(settings)}; it keeps {len(kept)} private keys")
    private_keys: Counter[str] = Counter()
    yield from _check_private_keys(store.keys.list(), vault, kept, private_keys)
    of_subjects, finding = try_check("subject key", store.deployment.subject_keys, RESET_SUBJECT_KEYS)
    if of_subjects is None:
        yield finding
    subject_keys = Counter(kek_name(key.wrapped) for key in of_subjects or ())
    for check, under in (("private keys", private_keys), ("subject keys", subject_keys)):
        for name in sorted(under.keys() - {cipher.current}):
            detail = f"{under[name]} of {under.total()} are under {name}, not yet under {cipher.current}"
            yield Finding(False, check, detail, REWRAP)
    for name in cipher.names[1:]:
        if not private_keys[name] + subject_keys[name]:
            yield Finding(True, name, "nothing is under it: it may be taken out of the settings")


def _check_private_keys(
    records: Sequence[KeyRecord], vault: Vault, kept: frozenset[str], under: Counter[str]
) -> Iterator[Finding]:
    """Those that sign, and those that cannot be read or opened; counts in `under` what each is wrapped by."""
    known = {record.id: record for record in records}
    signing = {r.id for r in records if any(placement.state is KeyState.ACTIVE for placement in r.placements)}
    for key_id in sorted(kept | signing):
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
                    yield Finding(True, check, "signs, and can be opened")
        under[kek_name(envelope)] += 1


def _damaged_key(record: KeyRecord, damage: InvalidKey) -> Finding:
    """A key that only drains, or has ended, needs no private half any more."""
    check, detail = f"private key {record.id}", f"cannot sign: {damage.message}"
    if not record.placements:
        return Finding(False, check, detail, f"tokensvc keys delete {record.id}")
    is_needed = any(placement.state in {KeyState.PREPARED, KeyState.ACTIVE} for placement in record.placements)
    return needs_reconcile(check, detail, ok=not is_needed)
