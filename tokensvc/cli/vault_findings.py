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
from tokensvc.vaulting import vault_in, vault_of, wrapping_keys_of, wrapping_settings
from tokensvc.wrap import Wrapper, require_known, wrapped_by

REWRAP = "tokensvc keys rewrap"


def examine_vault(settings: Settings, store: Store) -> Iterator[Finding]:
    """Look at it; nothing is changed, so a wrapping key that is new to the store does not join its list."""
    if any(getattr(settings, name) is None for name in wrapping_settings(settings)):
        return  # said among the settings
    keys = wrapping_keys_of(settings, store)
    _, finding = attempt("wrapping keys", lambda: require_known(store.wrappings.list(), *keys), "")
    if not finding.well:
        yield finding
        return
    wrapper = Wrapper(*keys)
    opens = f"; {' and '.join(wrapper.names[1:])} only open" if wrapper.names[1:] else ""
    yield Finding(True, "wrapping keys", f"{wrapper.current} wraps{opens}")
    vault, finding = attempt("vault", lambda: vault_of(settings, store, wrapper), "see the message")
    kept, finding = attempt("vault", vault.key_ids, "see the message") if vault else (None, finding)
    if vault is None or kept is None:
        yield finding
        return
    yield Finding(True, "vault", f"{vault_in(settings)}; it keeps {len(kept)} private keys")
    yield from _private_keys(store, vault, wrapper, kept)
    for key in store.deployment.subject_keys():
        if wrapped_by(key.wrapped) != wrapper.current:
            found = f"is under {wrapped_by(key.wrapped)}, not yet under {wrapper.current}"
            yield Finding(False, f"subject key {key.version}", found, REWRAP)


def _private_keys(store: Store, vault: Vault, wrapper: Wrapper, kept: frozenset[str]) -> Iterator[Finding]:
    signing = {r.id for r in store.keys.list() if any(there.state is KeyState.ACTIVE for there in r.places)}
    under: Counter[str] = Counter()
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
    for name, number in sorted(under.items()):
        if name != wrapper.current:
            found = f"{number} of {len(kept)} are under {name}, not yet under {wrapper.current}"
            yield Finding(False, "private keys", found, REWRAP)
