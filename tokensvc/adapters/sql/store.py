"""The whole store behind its ports: what wiring takes."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from tokensvc.adapters.sql import migrate
from tokensvc.adapters.sql.callers import SqlCallers
from tokensvc.adapters.sql.channels import SqlChannels
from tokensvc.adapters.sql.denials import SqlDenials
from tokensvc.adapters.sql.deployment import SqlDeployment
from tokensvc.adapters.sql.engine import make_engine
from tokensvc.adapters.sql.journal import SqlJournal
from tokensvc.adapters.sql.keys import SqlKeys
from tokensvc.adapters.sql.known_wrappings import SqlKnownWrappings
from tokensvc.adapters.sql.leases import SqlLeases
from tokensvc.adapters.sql.revocation_queue import SqlRevocationQueue
from tokensvc.adapters.sql.revocations import SqlRevocations
from tokensvc.adapters.sql.rotations import SqlRotations
from tokensvc.adapters.sql.versions import SqlVersions
from tokensvc.adapters.sql.workers import SqlWorkers
from tokensvc.ports.callers import CallerStore
from tokensvc.ports.channels import ChannelStore
from tokensvc.ports.denials import Denials
from tokensvc.ports.deployment import DeploymentStore
from tokensvc.ports.journal import Journal
from tokensvc.ports.keys import KeyStore
from tokensvc.ports.known_wrappings import KnownWrappings
from tokensvc.ports.leases import Leases
from tokensvc.ports.revocation_queue import RevocationQueue
from tokensvc.ports.revocations import Revocations
from tokensvc.ports.rotations import Rotations
from tokensvc.ports.versions import Versions
from tokensvc.ports.workers import Workers


@dataclass(frozen=True)
class Store:
    """One store; its parts share one pool of connections."""

    deployment: DeploymentStore
    keys: KeyStore
    journal: Journal
    rotations: Rotations
    workers: Workers
    callers: CallerStore
    channels: ChannelStore
    revocations: Revocations
    revocation_queue: RevocationQueue
    denials: Denials
    leases: Leases
    wrappings: KnownWrappings
    versions: Versions
    engine: sa.Engine

    def close(self) -> None:
        """Close every connection. Using the store again opens new ones."""
        self.engine.dispose()


def open_store(url: str, *, timeout_seconds: float = 5) -> Store:
    """Open a store that `tokensvc db upgrade` made.

    Raises SchemaMismatch when it is not there, or not of this version's schema; StoreUnavailable when it cannot be
    asked.
    """
    engine = make_engine(url, timeout_seconds=timeout_seconds, create=False)
    try:
        migrate.check(engine)
    except BaseException:
        engine.dispose()
        raise
    return store_on(engine)


def store_on(engine: sa.Engine) -> Store:
    """The ports over an engine, whatever it is connected to."""
    return Store(
        deployment=SqlDeployment(engine),
        keys=SqlKeys(engine),
        journal=SqlJournal(engine),
        rotations=SqlRotations(engine),
        workers=SqlWorkers(engine),
        callers=SqlCallers(engine),
        channels=SqlChannels(engine),
        revocations=SqlRevocations(engine),
        revocation_queue=SqlRevocationQueue(engine),
        denials=SqlDenials(engine),
        leases=SqlLeases(engine),
        wrappings=SqlKnownWrappings(engine),
        versions=SqlVersions(engine),
        engine=engine,
    )
