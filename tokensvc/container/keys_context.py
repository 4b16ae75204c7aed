"""Assembles the key lifecycle's KeysContext from store, vault and IVS, for one command or for a process.

Invariants
- One process at a time is the rotation leader: it holds the deployment's rotation lease under its own name.
- Timestamps that several machines write and compare are taken from the store's clock.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokensvc.audit.requester import Requester, system_requester
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock, StoreClock
from tokensvc.container.deployment import deployment_max_staleness
from tokensvc.container.vault import open_vault
from tokensvc.jose import keypair
from tokensvc.keys.absences import AbsenceTracker
from tokensvc.keys.context import KeysContext
from tokensvc.keys.private_keys import PrivateKeyChecks
from tokensvc.problems import Problem
from tokensvc.settings import Settings
from tokensvc.storage.store import Store
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.store import Vault

ROTATION_LEASE = "rotation"
ROTATION_LEASE_SECONDS = 20.0
"""Longer than any single step: a call to IVS ends after 7 seconds, a call to the store after its timeout."""


@dataclass(frozen=True, kw_only=True)
class ReconcilerConfig:
    """What a process that reconciles keys continuously needs."""

    make_context: Callable[[], KeysContext]
    """Creates a context with the store's current time. Raises StoreError."""
    regions: Sequence[str]
    lease_seconds: float


def make_keys_context(
    *,
    settings: Settings,
    store: Store,
    vault: Vault,
    control_plane: ControlPlane,
    clock: Clock,
    lease_holder: str,
    requester: Requester,
    report: Callable[[str], None],
    lease_seconds: float = ROTATION_LEASE_SECONDS,
    absences: AbsenceTracker | None = None,
    private_keys: PrivateKeyChecks | None = None,
) -> KeysContext:
    """Create a KeysContext; `lease_holder` is the name under which it acquires the rotation lease.

    A process that creates several contexts shares `absences` and `private_keys`, which remember IVS's responses and
    checked private keys, between them.
    """
    return KeysContext(
        keys=store.keys,
        deployment=store.deployment,
        journal=store.journal,
        rotation_requests=store.rotation_requests,
        vault=vault,
        control_plane=control_plane,
        clock=clock,
        sleep=time.sleep,
        new_id=new_key_id,
        new_key=keypair.generate,
        max_staleness_seconds=lambda: deployment_max_staleness(settings, store),
        acquire_lease=lambda: store.leases.acquire(ROTATION_LEASE, lease_holder, lease_seconds),
        release_lease=lambda: store.leases.release(ROTATION_LEASE, lease_holder),
        leader_problems=lambda: _leader_problems(store),
        absences=absences or AbsenceTracker(),
        private_keys=private_keys or PrivateKeyChecks(),
        requester=requester,
        report=report,
    )


def make_command_context(
    settings: Settings,
    store: Store,
    control_plane: ControlPlane,
    cipher: SecretCipher,
    report: Callable[[str], None],
    requester: Requester,
) -> KeysContext:
    """The context of the use cases on keys, for a command: on the store's clock, with a lease holder of its own."""
    return make_keys_context(
        settings=settings,
        store=store,
        vault=open_vault(settings, store, cipher),
        control_plane=control_plane,
        clock=StoreClock(store.versions.read().now),
        lease_holder=new_worker_id(),
        requester=requester,
        report=report,
    )


def make_reconciler_config(
    *,
    settings: Settings,
    store: Store,
    vault: Vault,
    control_plane: ControlPlane,
    worker_id: str,
    regions: Sequence[str],
    lease_seconds: float = ROTATION_LEASE_SECONDS,
) -> ReconcilerConfig:
    """The configuration with which this process rotates keys; each context takes the store's time when created."""
    absences, private_keys = AbsenceTracker(), PrivateKeyChecks()

    def make_context() -> KeysContext:
        return make_keys_context(
            settings=settings,
            store=store,
            vault=vault,
            control_plane=control_plane,
            clock=StoreClock(store.versions.read().now),
            lease_holder=worker_id,
            requester=system_requester("rotation"),
            report=lambda _words: None,
            lease_seconds=lease_seconds,
            absences=absences,
            private_keys=private_keys,
        )

    return ReconcilerConfig(make_context=make_context, regions=regions, lease_seconds=lease_seconds)


def _leader_problems(store: Store) -> Sequence[Problem]:
    """The problems in the leader's heartbeat. A leader that is a command has none: it sends no heartbeats."""
    held = store.leases.held(ROTATION_LEASE)
    heartbeats = (worker.heartbeat for worker in store.workers.list())
    return next(
        (heartbeat.problems for heartbeat in heartbeats if held is not None and heartbeat.worker_id == held.holder), ()
    )


def new_worker_id() -> str:
    """A new id for this process, unique among all that use the store."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def new_key_id() -> str:
    """A new id of a key pair: a letter and 12 random hex digits, valid as a file name and as a tag."""
    return "k" + secrets.token_hex(6)
