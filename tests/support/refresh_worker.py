"""A worker's refresh over dependencies that count calls and may be unavailable."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import POLICY as ROTATION
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.keks import CIPHER
from tests.support.tokens import CHANNEL
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.background.refresh import Refresh
from tokensvc.callers.api_keys import key_digest
from tokensvc.callers.policy import CallerPolicy
from tokensvc.callers.store import StoredSecret
from tokensvc.errors import StoreUnavailable
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing.openssl import OpenSslKey, OpenSslSigner
from tokensvc.tokens.channels import ChannelRecord
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver
from tokensvc.vault.cipher import SecretCipher

POLICY = CallerPolicy(channels=("*",))


class CountingPort:
    """A dependency that counts the calls to it and may be unavailable."""

    def __init__(self, port: Any) -> None:
        self.port = port
        self.calls: list[str] = []
        self.unavailable_from: int | None = None
        """The number of the first call that fails, as do all after it; None: none fails."""

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.unavailable_from is not None and len(self.calls) >= self.unavailable_from:
                raise StoreUnavailable("the store cannot be reached")
            self.calls.append(name)
            return getattr(self.port, name)(*args, **kwargs)

        return call


class CountingSigner(OpenSslSigner):
    """Counts the keys that it prepares."""

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, private_key: PrivateKey) -> OpenSslKey:
        self.prepared += 1
        return super().prepare(private_key)


class CountingWorker:
    """A refresh over counting dependencies of a deployment."""

    def __init__(self, deployment: InMemoryDeployment, clock: ManualClock, cipher: SecretCipher = CIPHER) -> None:
        names = ("versions", "deployment", "keys", "callers", "channels", "denials")
        self.ports = {name: CountingPort(getattr(deployment.store, name)) for name in names}
        self.signer = CountingSigner()
        ports: dict[str, Any] = self.ports
        self.refresh = Refresh(
            versions=ports["versions"],
            deployment=ports["deployment"],
            keys=ports["keys"],
            callers=ports["callers"],
            channels=ports["channels"],
            denials=DenylistSync(ports["denials"], pause=lambda _seconds: None),
            vault=deployment.vault,
            subjects=ViewerIdResolver(ports["deployment"], lambda: cipher),
            signer=self.signer,
            clock=clock,
            max_staleness_seconds=ROTATION.max_staleness_seconds,
        )

    @property
    def signers(self) -> int:
        """The number of prepared keys."""
        return self.signer.prepared

    def take_calls(self) -> dict[str, list[str]]:
        """The calls to each dependency since the last time."""
        calls = {name: port.calls[:] for name, port in self.ports.items() if port.calls}
        for port in self.ports.values():
            port.calls.clear()
        return calls


def stored_secret(key_id: str) -> StoredSecret:
    return StoredSecret(key_id, key_digest(f"tsk_{key_id}_x"), ManualClock().at(), None)


def channel(number: int, url: str | None = "https://edge.test/a.m3u8") -> ChannelRecord:
    return ChannelRecord(f"{CHANNEL}x{number}", url, True, ManualClock().at() + timedelta(seconds=number), -1)
