"""What goes on by itself, put together: beside `serve`'s routes, and in `work`, which does nothing else.

Rules of the file
- Every process that signs, or rotates, tells that it is there; it hears of changes from whoever reads the version
  numbers anyway.
- Where rotation goes on, IVS is told of revocations, and what is old is forgotten too.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Callable
from typing import NamedTuple

from tokensvc.adapters.signing.choice import Chosen
from tokensvc.adapters.sql.store import Store
from tokensvc.core.arn import Place
from tokensvc.core.problem import Problem, ProblemCode
from tokensvc.errors import Action, Remedy
from tokensvc.loops.dispatch import EVERY_SECONDS as DISPATCH_EVERY_SECONDS
from tokensvc.loops.dispatch import Dispatch
from tokensvc.loops.hearing import Hearing
from tokensvc.loops.heartbeat import EVERY_SECONDS as BEAT_EVERY_SECONDS
from tokensvc.loops.heartbeat import Heartbeats
from tokensvc.loops.leading import LEASE_SECONDS as DISPATCH_LEASE_SECONDS
from tokensvc.loops.leading import Leading
from tokensvc.loops.outages import FailureLog
from tokensvc.loops.prune import EVERY_SECONDS as PRUNE_EVERY_SECONDS
from tokensvc.loops.prune import Prune
from tokensvc.loops.rotation import EVERY_SECONDS as ROTATION_EVERY_SECONDS
from tokensvc.loops.rotation import Rotation
from tokensvc.loops.runner import Loop, Once
from tokensvc.performing import Performer
from tokensvc.ports.clock import Clock
from tokensvc.ports.control_plane import ControlPlane
from tokensvc.ports.metrics import Metrics
from tokensvc.ports.workers import Heartbeat
from tokensvc.revoke import ServedRegions, World

BACKOFF_MAX_SECONDS = 30.0


class Duties(NamedTuple):
    """The duties of one process beside its own snapshot."""

    hearing: Hearing
    heartbeats: Heartbeats
    loops: tuple[Loop, ...]
    accepted: Callable[[], None]
    """To be called when a revocation was accepted, so that it is on its way at once. Returns at once."""


class Member(NamedTuple):
    """Who this process is among those that work on one store."""

    worker_id: str
    lease_seconds: float
    """How long it signs without the store; 0 for one that never signs."""
    store_timeout_seconds: float
    unopened: Callable[[], frozenset[str]]
    """The keys that it cannot open."""
    chosen: Chosen | None = None
    """What signs here; None in a process that signs nothing."""

    def signer_trouble(self) -> tuple[Problem, ...]:
        """What is wrong with the signer, as all workers show it."""
        reason = self.chosen.signer.problem() if self.chosen is not None else ""
        if not reason:
            return ()
        parameters, remedy = {"worker_id": self.worker_id, "reason": reason}, Remedy(Action.REPLACE_SIGNER)
        return (Problem(ProblemCode.SIGNER_FAILED, parameters=parameters, remedy=remedy),)


class Telling(NamedTuple):
    """How this process tells IVS of revocations."""

    control_plane: ControlPlane
    share: float
    """How much of IVS's documented rates is ours."""
    regions: ServedRegions
    lease_seconds: float = DISPATCH_LEASE_SECONDS


class Background(NamedTuple):
    """What a process does that not every one has to."""

    performer: Performer
    telling: Telling


def duties_of(
    store: Store,
    member: Member,
    background: Background | None,
    clock: Clock,
    metrics: Metrics,
    failure_log: FailureLog | None = None,
) -> Duties:
    """The duties of a process; without a background others rotate, tell IVS of revocations, and prune. `failure_log` is
    the one that the process's other loops have."""
    hearing, log = Hearing(), failure_log or FailureLog(clock.monotonic)
    rotation = dispatch = None
    if background is not None:
        world, regions, lease = background.performer
        rotation = Rotation(world, regions, clock, metrics, lease_seconds=lease)
        dispatch = _dispatch(store, member, background.telling, clock, metrics, log)

    def say() -> Heartbeat:
        return Heartbeat(
            member.worker_id,
            socket.gethostname(),
            os.getpid(),
            member.lease_seconds,
            hearing.heard.keys.number,
            hearing.heard.deployment.number,
            member.store_timeout_seconds,
            tuple(sorted(member.unopened())),
            (
                *member.signer_trouble(),
                *(problem for duty in (rotation, dispatch) if duty is not None for problem in duty.trouble),
            ),
            rotation.news if rotation is not None else (),
            hearing.heard.keys.tag,
            hearing.heard.deployment.tag,
            member.chosen.signer.name if member.chosen is not None else "",
            member.chosen.why_not_faster if member.chosen is not None else "",
        )

    heartbeats = Heartbeats(store.workers, say)

    def beat() -> None:
        heartbeats.once()
        metrics.workers(*heartbeats.count(store.versions.read().keys))

    beating = _loop("heartbeat", beat, BEAT_EVERY_SECONDS, metrics, log, heartbeats.leave)
    hearing.listeners.append(beating.poke)
    hearing.of_replacement.append(heartbeats.introduce_again)
    loops = [beating]
    accepted = _nothing
    if rotation is not None and dispatch is not None:
        rotating = _loop("rotation", rotation.once, ROTATION_EVERY_SECONDS, metrics, log, rotation.stop)
        hearing.listeners += [rotation.ask, rotating.poke]
        ended = (store.journal, store.rotations, store.workers, store.revocations, store.denials)
        prune = Prune(*ended, store.channels, store.versions, clock)
        pruning = _loop("prune", prune.once, PRUNE_EVERY_SECONDS, metrics, log)
        dispatching = _loop("dispatch", dispatch.once, DISPATCH_EVERY_SECONDS, metrics, log, dispatch.stop)
        loops += [rotating, pruning, dispatching]
        accepted = dispatch.poke
        hearing.of_denials.append(accepted)
        hearing.of_replacement.append(dispatch.ask_again)
    return Duties(hearing, heartbeats, tuple(loops), accepted)


def _dispatch(
    store: Store, member: Member, telling: Telling, clock: Clock, metrics: Metrics, log: FailureLog
) -> Dispatch:
    world = World(store.revocation_queue, telling.control_plane, clock, random.random)
    numbers = itertools.count(1)

    def lead(place: Place) -> Leading:
        holder = f"{member.worker_id}:{next(numbers)}"  # one that ends never gives up its successor's lease
        share, seconds = telling.share, telling.lease_seconds
        return Leading(place, world, store.leases, holder, metrics, share=share, lease_seconds=seconds)

    return Dispatch(store.revocation_queue, lead, telling.regions, clock, metrics, log)


def _nothing() -> None:
    """Others are told by the store."""


def _loop(
    name: str,
    once: Once,
    every: float,
    metrics: Metrics,
    log: FailureLog,
    at_end: Callable[[], None] = lambda: None,
) -> Loop:
    return Loop(
        name,
        once,
        every_seconds=every,
        backoff_max_seconds=max(BACKOFF_MAX_SECONDS, every),
        on_failure=metrics.background_failure,
        at_end=at_end,
        failure_log=log,
    )
