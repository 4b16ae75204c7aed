"""What `tokensvc doctor` finds in the store about keys: the policy, what is unfinished, and who has not heard."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial

from tokensvc.background.heartbeat import UNRESPONSIVE_AFTER_SECONDS
from tokensvc.cli.checks.finding import Finding, try_check, needs_reconcile
from tokensvc.cli.keys.context import list_stale_workers, reference_time
from tokensvc.cli.output import instant_or_none
from tokensvc.cli.remedies import problem_sentence
from tokensvc.deployment.workers import Worker
from tokensvc.keys.commands import replacement_keys
from tokensvc.keys.inventory import GRACE_SECONDS
from tokensvc.keys.lifecycle import KeyRecord, KeyState
from tokensvc.keys.rotation_policy import PROPAGATION_SECONDS, check_policy
from tokensvc.keys.views import ReferenceTime
from tokensvc.settings import Settings
from tokensvc.storage.store import Store

_MAX_ROTATIONS = 20


def check_keys(settings: Settings, store: Store) -> Iterator[Finding]:
    """Look at it; nothing is changed."""
    at, records = reference_time(settings, store), store.keys.list()
    ceiling = store.deployment.read().max_ttl_seconds
    _, finding = try_check("rotation policy", partial(check_policy, at.policy, ceiling), _fix_policy(at, ceiling))
    age = (
        "only when asked" if at.policy.max_age_seconds is None else f"every {at.policy.max_age_seconds / 86_400:g} days"
    )
    yield finding._replace(detail=f"holds; keys are replaced {age}") if finding.ok else finding
    yield from _check_unfinished(store, records, at)
    yield from _check_workers(store, records, at)


def _fix_policy(at: ReferenceTime, ceiling: int) -> str:
    """The command that sets the nearest policy that holds."""
    policy, changes = at.policy, []
    if 0 < policy.propagation_seconds < PROPAGATION_SECONDS:
        policy = policy._replace(propagation_seconds=PROPAGATION_SECONDS)
        changes.append(f"TOKENSVC_KEY_PROPAGATION_SECONDS={policy.propagation_seconds:g}")
    least = policy.propagation_seconds + policy.drain_seconds(ceiling)
    if policy.max_age_seconds is not None and policy.max_age_seconds < least:
        changes.append(f"TOKENSVC_KEY_MAX_AGE_DAYS={math.ceil(least / 86_400 * 100) / 100:g}")
    return f"{' '.join(changes)} tokensvc db upgrade   (or a greater value; 0 days: only when asked)"


def _check_unfinished(store: Store, records: Sequence[KeyRecord], at: ReferenceTime) -> Iterator[Finding]:
    for entry in store.journal.open_entries():
        if at.now - entry.started_at > timedelta(seconds=GRACE_SECONDS):
            where = f" in {entry.region}" if entry.region else ""
            detail = f"was begun at {instant_or_none(entry.started_at)}{where}, and nobody noted how it ended"
            yield needs_reconcile(f"step {entry.kind} of key {entry.key_id}", detail)
    patience = timedelta(seconds=at.policy.propagation_seconds + GRACE_SECONDS)
    for wish in store.rotations.newest(_MAX_ROTATIONS):
        left = [region for region, signs in replacement_keys(records, wish).items() if signs is None]
        if left and at.now - wish.requested_at > patience:
            asked = f"was asked for at {instant_or_none(wish.requested_at)} by {wish.requested_by}"
            yield needs_reconcile(f"rotation {wish.id}", f"{asked}, and is not done in {', '.join(left)}")


def _check_workers(store: Store, records: Sequence[KeyRecord], at: ReferenceTime) -> Iterator[Finding]:
    workers, unheard = store.workers.list(), list_stale_workers(store, at)
    lately = [w for w in workers if (at.now - w.last_heartbeat_at).total_seconds() <= UNRESPONSIVE_AFTER_SECONDS]
    signing = {r.id for r in records for placement in r.placements if placement.state is KeyState.ACTIVE}
    yield Finding(
        True, "workers", f"{len(lately)} were heard of lately, {len(unheard)} have not heard of the newest keys"
    )
    for told in unheard:
        heartbeat, until = told.worker.heartbeat, instant_or_none(told.until)
        detail = f"was last heard of at {instant_or_none(told.worker.last_heartbeat_at)}; it may go by older keys until {until}"
        yield Finding(
            False,
            f"worker {heartbeat.worker_id}",
            detail,
            f"kill {heartbeat.pid}   (on {heartbeat.host}, or let it reach the store again: its log names the cause)",
        )
    for worker in lately:
        yield from _check_undecryptable(worker, signing)
    for problem in dict.fromkeys(problem for worker in lately for problem in worker.heartbeat.problems):
        note = "once what it names has ended; a worker tries it again by itself too"
        yield needs_reconcile("background", problem_sentence(problem), note)


def _check_undecryptable(worker: Worker, signing: set[str]) -> Iterator[Finding]:
    for key_id in worker.heartbeat.undecryptable:
        if key_id in signing:
            detail = f"cannot open key {key_id}, which is active"
            where = f"on {worker.heartbeat.host}, with that worker's settings"
            fix = f"tokensvc doctor   ({where}: they lack the wrapping key, or it cannot read the vault)"
            yield Finding(False, f"worker {worker.heartbeat.worker_id}", detail, fix)
