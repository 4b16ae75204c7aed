"""All stores of one database, behind their protocols.

Invariants
- A member is loaded when it is first used, and SQLAlchemy when a store is opened: a command waits only for what it
  needs, and one that prints its help for neither.
- A process that runs for long calls `load` first, so that it never loads code after an upgrade of the package.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

    from tokensvc.audit.store import AuditStore
    from tokensvc.callers.store import CallerStore
    from tokensvc.deployment.leases import Leases
    from tokensvc.deployment.record import DeploymentStore
    from tokensvc.deployment.versions import Versions
    from tokensvc.deployment.workers import Workers
    from tokensvc.keys.store import Journal, KeyStore, RotationRequestStore
    from tokensvc.revocations.queue import RevocationQueue
    from tokensvc.revocations.store import DenialStore, RevocationStore
    from tokensvc.tokens.channels import ChannelStore
    from tokensvc.tokens.single_uses import SingleUseStore
    from tokensvc.vault.store import KekRegistry


class Store:
    """The stores of one database; they share a connection pool. The schema is not checked."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def load(self) -> None:
        """Load every member now."""
        for name, member in vars(Store).items():
            if isinstance(member, cached_property):
                getattr(self, name)

    def close(self) -> None:
        """Close every connection. Using the store again opens new ones."""
        self.engine.dispose()

    @cached_property
    def deployment(self) -> DeploymentStore:
        from tokensvc.storage.deployment import SqlDeploymentStore

        return SqlDeploymentStore(self.engine)

    @cached_property
    def keys(self) -> KeyStore:
        from tokensvc.storage.keys import SqlKeyStore

        return SqlKeyStore(self.engine)

    @cached_property
    def journal(self) -> Journal:
        from tokensvc.storage.journal import SqlJournal

        return SqlJournal(self.engine)

    @cached_property
    def rotation_requests(self) -> RotationRequestStore:
        from tokensvc.storage.rotation_requests import SqlRotationRequestStore

        return SqlRotationRequestStore(self.engine)

    @cached_property
    def workers(self) -> Workers:
        from tokensvc.storage.workers import SqlWorkers

        return SqlWorkers(self.engine)

    @cached_property
    def callers(self) -> CallerStore:
        from tokensvc.storage.callers import SqlCallerStore

        return SqlCallerStore(self.engine)

    @cached_property
    def audit(self) -> AuditStore:
        from tokensvc.storage.audit import SqlAuditStore

        return SqlAuditStore(self.engine)

    @cached_property
    def channels(self) -> ChannelStore:
        from tokensvc.storage.channels import SqlChannelStore

        return SqlChannelStore(self.engine)

    @cached_property
    def revocations(self) -> RevocationStore:
        from tokensvc.storage.revocations import SqlRevocationStore

        return SqlRevocationStore(self.engine)

    @cached_property
    def revocation_queue(self) -> RevocationQueue:
        from tokensvc.storage.revocation_queue import SqlRevocationQueue

        return SqlRevocationQueue(self.engine)

    @cached_property
    def denials(self) -> DenialStore:
        from tokensvc.storage.denials import SqlDenialStore

        return SqlDenialStore(self.engine)

    @cached_property
    def single_uses(self) -> SingleUseStore:
        from tokensvc.storage.single_uses import SqlSingleUseStore

        return SqlSingleUseStore(self.engine)

    @cached_property
    def leases(self) -> Leases:
        from tokensvc.storage.leases import SqlLeases

        return SqlLeases(self.engine)

    @cached_property
    def kek_registry(self) -> KekRegistry:
        from tokensvc.storage.kek_registry import SqlKekRegistry

        return SqlKekRegistry(self.engine)

    @cached_property
    def versions(self) -> Versions:
        from tokensvc.storage.versions import SqlVersions

        return SqlVersions(self.engine)


def open_store(url: str, *, timeout_seconds: float = 5) -> Store:
    """Open a store that `tokensvc db upgrade` created.

    Raises InvalidDatabaseUrl; StoreNotFound; SchemaMismatch if it does not have this version's schema; StoreUnavailable
    if it cannot be reached.
    """
    from tokensvc.storage import migrate
    from tokensvc.storage.engine import make_engine

    engine = make_engine(url, timeout_seconds=timeout_seconds, create=False)
    try:
        migrate.check(engine)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine)
