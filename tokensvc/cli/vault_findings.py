"""What `tokensvc doctor` finds in the vault: where it is, what wraps it, whether the keys that sign can be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from tokensvc.adapters.sql.store import Store
from tokensvc.cli.findings import Finding, attempt
from tokensvc.core.lifecycle import KeyState
from tokensvc.ports.vault import Vault
from tokensvc.settings import Settings
from tokensvc.vaulting import vault_in, vault_of, wrapper_to_look, wrapping_wanted
from tokensvc.wrap import wrapped_by

REWRAP = "tokensvc keys rewrap"
LOST = (
    "put the row back; without a backup every denial by subject is void: UPDATE deployment SET subject_keys_made = 0, "
    "restart, and deny anew"
)


def examine_vault(settings: Settings, store: Store) -> Iterator[Finding]:
    """Look at it; nothing is changed, so a wrapping key that is new to the store does not join its list."""
    if any(getattr(settings, name) is None for name in wrapping_wanted(settings)):
        return  # said among the settings
    wrapper, finding = attempt("wrapping keys", lambda: wrapper_to_look(settings, store), "")
    if wrapper is None:
        yield finding
        return
    opens = f"; {' and '.join(wrapper.names[1:])} only open" if wrapper.names[1:] else ""
    yield Finding(True, "wrapping keys", f"{wrapper.current} wraps{opens}")
    vault, finding = attempt("vault", lambda: vault_of(settings, store, wrapper), "see the message")
    kept, finding = attempt("vault", vault.key_ids, "see the message") if vault else (None, finding)
    if vault is None or kept is None:
        yield finding
        return
    yield Finding(True, "vault", f"{vault_in(settings)}; it keeps {len(kept)} private keys")
    private_keys: Counter[str] = Counter()
    yield from _private_keys(store, vault, kept, private_keys)
    of_subjects, finding = attempt("subject key", store.deployment.subject_keys, LOST)
    if of_subjects is None:
        yield finding
    subject_keys = Counter(wrapped_by(key.wrapped) for key in of_subjects or ())
    for what, under in (("private keys", private_keys), ("subject keys", subject_keys)):
        for name in sorted(under.keys() - {wrapper.current}):
            found = f"{under[name]} of {under.total()} are under {name}, not yet under {wrapper.current}"
            yield Finding(False, what, found, REWRAP)
    for name in wrapper.names[1:]:
        if not private_keys[name] + subject_keys[name]:
            yield Finding(True, name, "nothing is under it: it may be taken out of the settings")


def _private_keys(store: Store, vault: Vault, kept: frozenset[str], under: Counter[str]) -> Iterator[Finding]:
    """Those that sign, and those that cannot be read; counts in `under` what each is wrapped by."""
    signing = {r.id for r in store.keys.list() if any(there.state is KeyState.ACTIVE for there in r.places)}
    for key_id in sorted(kept | signing):
        what = f"private key {key_id}"
        envelope, finding = attempt(what, partial(vault.wrapped, key_id), "")
        if envelope is None:
            yield finding
            continue
        under[wrapped_by(envelope)] += 1
        if key_id in signing:
            opened, finding = attempt(what, partial(vault.open, key_id), "")
            yield Finding(True, what, "signs, and can be opened") if opened else finding
