"""All stores of one database, behind their protocols."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from tokensvc.callers.store import CallerStore
from tokensvc.deployment.leases import Leases
from tokensvc.deployment.record import DeploymentStore
from tokensvc.deployment.versions import Versions
from tokensvc.deployment.workers import Workers
from tokensvc.keys.store import Journal, KeyStore, RotationRequestStore
from tokensvc.revocations.queue import RevocationQueue
from tokensvc.revocations.store import DenialStore, RevocationStore
from tokensvc.storage import migrate
from tokensvc.storage.callers import SqlCallerStore
from tokensvc.storage.channels import SqlChannelStore
from tokensvc.storage.denials import SqlDenialStore
from tokensvc.storage.deployment import SqlDeploymentStore
from tokensvc.storage.engine import make_engine
from tokensvc.storage.journal import SqlJournal
from tokensvc.storage.kek_registry import SqlKekRegistry
from tokensvc.storage.keys import SqlKeyStore
from tokensvc.storage.leases import SqlLeases
from tokensvc.storage.revocation_queue import SqlRevocationQueue
from tokensvc.storage.revocations import SqlRevocationStore
from tokensvc.storage.rotation_requests import SqlRotationRequestStore
from tokensvc.storage.versions import SqlVersions
from tokensvc.storage.workers import SqlWorkers
from tokensvc.tokens.channels import ChannelStore
from tokensvc.vault.store import KekRegistry


@dataclass(frozen=True)
class Store:
    """The stores of one database; they share a connection pool."""

    deployment: DeploymentStore
    keys: KeyStore
    journal: Journal
    rotation_requests: RotationRequestStore
    workers: Workers
    callers: CallerStore
    channels: ChannelStore
    revocations: RevocationStore
    revocation_queue: RevocationQueue
    denials: DenialStore
    leases: Leases
    kek_registry: KekRegistry
    versions: Versions
    engine: sa.Engine

    def close(self) -> None:
        """Close every connection. Using the store again opens new ones."""
        self.engine.dispose()


def open_store(url: str, *, timeout_seconds: float = 5) -> Store:
    """Open a store that `tokensvc db upgrade` created.

    Raises InvalidDatabaseUrl; StoreNotFound; SchemaMismatch if it does not have this version's schema; StoreUnavailable
    if it cannot be reached.
    """
    engine = make_engine(url, timeout_seconds=timeout_seconds, create=False)
    try:
        migrate.check(engine)
    except BaseException:
        engine.dispose()
        raise
    return store_for_engine(engine)


def store_for_engine(engine: sa.Engine) -> Store:
    """The stores over an existing engine; the schema is not checked."""
    return Store(
        deployment=SqlDeploymentStore(engine),
        keys=SqlKeyStore(engine),
        journal=SqlJournal(engine),
        rotation_requests=SqlRotationRequestStore(engine),
        workers=SqlWorkers(engine),
        callers=SqlCallerStore(engine),
        channels=SqlChannelStore(engine),
        revocations=SqlRevocationStore(engine),
        revocation_queue=SqlRevocationQueue(engine),
        denials=SqlDenialStore(engine),
        leases=SqlLeases(engine),
        kek_registry=SqlKekRegistry(engine),
        versions=SqlVersions(engine),
        engine=engine,
    )
