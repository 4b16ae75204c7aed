"""Assembly of what the key lifecycle works with: store, vault and IVS -> KeysContext, for one command or for a process.

Rules of the file
- Whoever performs is named, since one performs at a time: the lease is the deployment's, and the name the process's.
- What several machines date and judge by each other's dates is dated by the store's clock.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock, StoreClock
from tokensvc.jose import keypair
from tokensvc.keys.absences import AbsenceTracker
from tokensvc.keys.context import KeysContext
from tokensvc.keys.private_keys import PrivateKeyChecks
from tokensvc.keys.rotation_policy import max_staleness_seconds
from tokensvc.problems import Problem
from tokensvc.settings import Settings
from tokensvc.storage.store import Store
from tokensvc.vault.store import Vault

ROTATION_LEASE = "rotation"
ROTATION_LEASE_SECONDS = 20.0
"""Longer than any single step takes: a call to IVS ends after 7 seconds, one to the store after its timeout."""


@dataclass(frozen=True, kw_only=True)
class ReconcilerConfig:
    """What a process that goes on performing works with."""

    make_context: Callable[[], KeysContext]
    """Makes a context with the store's clock as it is now. Raises StoreError."""
    regions: Sequence[str]
    lease_seconds: float


def deployment_max_staleness(settings: Settings, store: Store) -> float:
    """R: as far as our own settings reach, or further if those of any worker of the last day do."""
    ours = max_staleness_seconds(settings.snapshot_lease_seconds, settings.store_timeout_seconds)
    told = (worker.heartbeat for worker in store.workers.list())
    return max([ours, *(max_staleness_seconds(said.lease_seconds, said.store_timeout_seconds) for said in told)])


def make_keys_context(
    *,
    settings: Settings,
    store: Store,
    vault: Vault,
    control_plane: ControlPlane,
    clock: Clock,
    lease_holder: str,
    report: Callable[[str], None],
    lease_seconds: float = ROTATION_LEASE_SECONDS,
    absences: AbsenceTracker | None = None,
    private_keys: PrivateKeyChecks | None = None,
) -> KeysContext:
    """What the key lifecycle works with; `lease_holder` is the name that the rotation lease is acquired under.

    A process that makes more than one context shares IVS's answers (`absences`) and the verdicts on private keys
    between them.
    """
    return KeysContext(
        keys=store.keys,
        deployment=store.deployment,
        journal=store.journal,
        rotations=store.rotations,
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
    """What this process rotates with, on the store's clock as each run finds it."""

    absences, private_keys = AbsenceTracker(), PrivateKeyChecks()

    def make_context() -> KeysContext:
        return make_keys_context(
            settings=settings,
            store=store,
            vault=vault,
            control_plane=control_plane,
            clock=StoreClock(store.versions.read().now),
            lease_holder=worker_id,
            report=lambda _words: None,
            lease_seconds=lease_seconds,
            absences=absences,
            private_keys=private_keys,
        )

    return ReconcilerConfig(make_context=make_context, regions=regions, lease_seconds=lease_seconds)


def _leader_problems(store: Store) -> Sequence[Problem]:
    """A command that performs says nothing: it has no heartbeat."""
    held = store.leases.held(ROTATION_LEASE)
    told = (worker.heartbeat for worker in store.workers.list())
    return next((said.problems for said in told if held is not None and said.worker_id == held.holder), ())


def new_worker_id() -> str:
    """Names this process among all that work on one store."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def new_key_id() -> str:
    """Our own id of a key pair: 12 random hex digits after a letter, fit for a file name and a tag."""
    return "k" + secrets.token_hex(6)
