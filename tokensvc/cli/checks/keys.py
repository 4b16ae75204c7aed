"""Checks the store's records about keys: the rotation policy, unfinished steps and rotations, and the workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from time import monotonic, sleep

from tokensvc.background.heartbeat import UNRESPONSIVE_AFTER_SECONDS
from tokensvc.cli.checks.finding import Finding, needs_reconcile, try_check
from tokensvc.cli.keys.context import list_stale_workers, reference_time
from tokensvc.cli.output import count_of, instant_or_none
from tokensvc.cli.remedies import command_of, problem_sentence
from tokensvc.deployment.workers import Worker
from tokensvc.keys.commands import replacement_keys
from tokensvc.keys.inventory import GRACE_SECONDS
from tokensvc.keys.lifecycle import KeyRecord, KeyState
from tokensvc.keys.rotation_policy import PROPAGATION_SECONDS, check_policy
from tokensvc.keys.stale_workers import StaleWorker
from tokensvc.keys.views import ReferenceTime
from tokensvc.problems import Problem, ProblemCode
from tokensvc.settings import Settings
from tokensvc.storage.store import Store

WATCH_QUEUE = "tokensvc revocations watch --once"
_MAX_ROTATIONS = 20
_SYNC_SECONDS = 4.0
"""In which a worker that reaches the store has loaded a change of the keys and reported it, with a margin."""
_PAUSE_SECONDS = 0.5


def check_keys(settings: Settings, store: Store) -> Iterator[Finding]:
    """Check the key records and the workers. Changes nothing."""
    at, records = reference_time(settings, store), store.keys.list()
    ceiling = store.deployment.read().max_ttl_seconds
    _, finding = try_check("rotation policy", partial(check_policy, at.policy, ceiling), _fix_policy(at, ceiling))
    max_age = at.policy.max_age_seconds
    when = "on request only" if max_age is None else f"after {count_of(max_age / 86_400, 'day')}"
    yield finding._replace(detail=f"valid; keys are replaced {when}") if finding.ok else finding
    yield from _check_unfinished(store, records, at)
    yield from _check_workers(store, records, at)


def _fix_policy(at: ReferenceTime, ceiling: int) -> str:
    """The command that sets the nearest valid policy."""
    policy, changes = at.policy, []
    if 0 < policy.propagation_seconds < PROPAGATION_SECONDS:
        policy = policy._replace(propagation_seconds=PROPAGATION_SECONDS)
        changes.append(f"TOKENSVC_KEY_PROPAGATION_SECONDS={policy.propagation_seconds:g}")
    minimum = policy.propagation_seconds + policy.drain_seconds(ceiling)
    if policy.max_age_seconds is not None and policy.max_age_seconds < minimum:
        changes.append(f"TOKENSVC_KEY_MAX_AGE_DAYS={math.ceil(minimum / 86_400 * 100) / 100:g}")
    return f"{' '.join(changes)} tokensvc db upgrade   (or a larger value; 0 days replaces keys only on request)"


def _check_unfinished(store: Store, records: Sequence[KeyRecord], at: ReferenceTime) -> Iterator[Finding]:
    for entry in store.journal.open_entries():
        if at.now - entry.started_at > timedelta(seconds=GRACE_SECONDS):
            where = f" in {entry.region}" if entry.region else ""
            detail = f"started at {instant_or_none(entry.started_at)}{where}; its outcome was never recorded"
            yield needs_reconcile(f"step {entry.kind} of key {entry.key_id}", detail)
    allowance = timedelta(seconds=at.policy.propagation_seconds + GRACE_SECONDS)
    for rotation in store.rotation_requests.newest(_MAX_ROTATIONS):
        pending = [region for region, key_id in replacement_keys(records, rotation).items() if key_id is None]
        if pending and at.now - rotation.requested_at > allowance:
            requested = f"requested at {instant_or_none(rotation.requested_at)} by {rotation.requested_by}"
            yield needs_reconcile(f"rotation {rotation.id}", f"{requested}; not done in {', '.join(pending)}")


def _check_workers(store: Store, records: Sequence[KeyRecord], at: ReferenceTime) -> Iterator[Finding]:
    stale, workers = _settled_stale_workers(store, at), store.workers.list()
    live = [w for w in workers if _is_live(w, at)]
    signing = {r.id for r in records for placement in r.placements if placement.state is KeyState.ACTIVE}
    yield Finding(True, "workers", f"{len(live)} active; {len(stale)} still on an older key set")
    for worker, until in stale:
        heartbeat, last = worker.heartbeat, instant_or_none(worker.last_heartbeat_at)
        detail = f"last heartbeat at {last}; may use an older key set until {instant_or_none(until)}"
        note = f"on {heartbeat.host}; or restore its connection to the store: its log has the cause"
        yield Finding(False, f"worker {heartbeat.worker_id}", detail, f"kill {heartbeat.pid}   ({note})")
    for worker in live:
        yield from _check_undecryptable(worker, signing)
    for problem in dict.fromkeys(problem for worker in live for problem in worker.heartbeat.problems):
        yield _background_finding(problem)


def _settled_stale_workers(store: Store, at: ReferenceTime) -> list[StaleWorker]:
    """The workers that may use an older key set, without those that are about to load a change made just now."""
    ends_at = monotonic() + _SYNC_SECONDS
    stale = list_stale_workers(store, at)
    while any(_is_live(worker, at) for worker, _ in stale) and monotonic() < ends_at:
        sleep(_PAUSE_SECONDS)
        stale = list_stale_workers(store, at)
    return stale


def _is_live(worker: Worker, at: ReferenceTime) -> bool:
    return (at.now - worker.last_heartbeat_at).total_seconds() <= UNRESPONSIVE_AFTER_SECONDS


def _background_finding(problem: Problem) -> Finding:
    """A problem that workers report. The reconciler resolves those of keys."""
    detail = problem_sentence(problem)
    if problem.code in (ProblemCode.SIGNER_FAILED, ProblemCode.REVOCATIONS_UNSERVED) and problem.remedy is not None:
        return Finding(False, "background", detail, command_of(problem.remedy))
    if problem.code in (ProblemCode.REVOCATIONS_LATE, ProblemCode.REVOCATIONS_REJECTED):
        fix = f"{WATCH_QUEUE}   (which shows IVS's error; workers retry by themselves until IVS accepts them)"
        return Finding(False, "background", detail, fix, needs_ivs=True)
    return needs_reconcile("background", detail, "after fixing the cause; workers also retry by themselves")


def _check_undecryptable(worker: Worker, signing: set[str]) -> Iterator[Finding]:
    for key_id in worker.heartbeat.undecryptable:
        if key_id in signing:
            detail = f"cannot decrypt key {key_id}, which is active"
            where = f"on {worker.heartbeat.host}, with that worker's settings"
            fix = f"tokensvc doctor   ({where}: the wrapping key is missing there, or the vault is not readable)"
            yield Finding(False, f"worker {worker.heartbeat.worker_id}", detail, fix)
