"""A deployment on a real database, and workers with a snapshot of it."""

from __future__ import annotations

from typing import Any

from tests.storage.samples import AT, HERE, POLICY, channel, denial, key_arn, secret
from tests.support.audit import EVENT
from tests.support.clocks import ManualClock
from tests.support.keks import CIPHER
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.background.refresh import Refresh
from tokensvc.jose import keypair
from tokensvc.jose.signing.openssl import OpenSslSigner
from tokensvc.storage.store import open_store
from tokensvc.storage.vault import SqlVault
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver


class DatabaseDeployment:
    """A deployment with callers, denials, a channel and an active key."""

    def __init__(self, url: str) -> None:
        self.store = open_store(url)
        self.vault = SqlVault(self.store.engine, CIPHER)
        for name in ("shop", "kept"):
            self.store.callers.add(name, POLICY, secret(name), EVENT)
        self.store.denials.add("shop", [denial("undone"), denial("kept")], event=EVENT)
        self.store.channels.record([channel("kept")])
        self.sign_with("k0")
        self.replacements = 0

    def worker(self, denials: Any = None) -> Refresh:
        store, clock = self.store, ManualClock(self.store.versions.read().now)
        return Refresh(
            versions=store.versions,
            deployment=store.deployment,
            keys=store.keys,
            callers=store.callers,
            channels=store.channels,
            denials=DenylistSync(denials or store.denials, lambda _seconds: None),
            vault=self.vault,
            subjects=ViewerIdResolver(store.deployment, lambda: CIPHER),
            signer=OpenSslSigner(),
            clock=clock,
            max_staleness_seconds=910.0,
            on_replacement=self._count_replacement,
        )

    def sign_with(self, key_id: str) -> None:
        """Generate a key and activate it."""
        key = keypair.generate()
        self.vault.put(key_id, key)
        self.store.keys.add(key_id, f"fingerprint of {key_id}", keypair.public_der(key.public_key()), AT)
        self.store.keys.record_import(key_id, HERE, key_arn(key_id), AT)
        self.store.keys.activate(key_id, HERE, AT, 3600)

    def _count_replacement(self) -> None:
        self.replacements += 1
