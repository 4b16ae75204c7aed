"""The denylist is loaded once and then follows the store; a worker that cannot follow stops signing."""

from __future__ import annotations

import pytest

from tests.storage.samples import CHANNEL, EVERYONE, denial
from tests.support.audit import EVENT
from tests.support.clocks import ManualClock, require_fresh_at
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.refresh_worker import CountingWorker
from tokensvc.background.denylist_sync import SLICE_ROWS, DenylistSync
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.errors import SnapshotStale, StoreUnavailable, ViewerDenied
from tokensvc.revocations.store import NewDenial
from tokensvc.tokens.denylist import Denylist, viewer_digest

pytestmark = pytest.mark.slow

LEASE_SECONDS = 900
HOUR = 3600


def deny(deployment: InMemoryDeployment, *viewers: str, seconds: int = HOUR) -> None:
    until = int(deployment.store.versions.read().now) + seconds
    deployment.store.denials.add("b", [denial(viewer, until) for viewer in viewers], event=EVENT)


def is_denied(denylist: Denylist, viewer: str, now: float) -> bool:
    try:
        denylist.min_session_version(CHANNEL, viewer, int(now))
    except ViewerDenied:
        return True
    return False


def test_all_denials_are_loaded_once_and_then_only_changes(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    deny(deployment, *(f"v{number}" for number in range(3 * SLICE_ROWS)))
    for _ in range(2):
        worker.refresh.run_once()
    assert len(worker.refresh.current.denylist) == 3 * SLICE_ROWS
    worker.take_calls()
    worker.refresh.run_once()
    assert worker.take_calls() == {"versions": ["read"]}
    deny(deployment, "one more")
    worker.refresh.run_once()
    assert worker.take_calls() == {"versions": ["read", "check_history"], "denials": ["changed_since"]}
    assert is_denied(worker.refresh.current.denylist, "one more", clock.now())
    assert not is_denied(worker.refresh.current.denylist, "another", clock.now())


def test_a_removed_denial_no_longer_applies(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    deny(deployment, "v")
    worker.refresh.run_once()
    [added] = deployment.store.denials.in_force(EVERYONE, limit=9, digests=[viewer_digest(CHANNEL, "v")])
    deployment.store.denials.remove(added.id, EVERYONE, event=EVENT)
    worker.refresh.run_once()
    assert not is_denied(worker.refresh.current.denylist, "v", clock.now())


def test_a_worker_that_could_not_load_denials_signs_nothing(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    deny(deployment, "v")
    worker.ports["denials"].unavailable_from = 0
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    with pytest.raises(SnapshotStale):
        require_fresh_at(worker.refresh.current, clock.monotonic(), LEASE_SECONDS)
    worker.ports["denials"].unavailable_from = None
    worker.refresh.run_once()
    require_fresh_at(worker.refresh.current, clock.monotonic(), LEASE_SECONDS)


def test_the_lease_starts_with_the_last_refresh_that_read_denials(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    worker.refresh.run_once()
    started_at = clock.monotonic()
    worker.ports["denials"].unavailable_from = 0
    deny(deployment, "v")
    for _ in range(10):
        clock.advance(LEASE_SECONDS / 10)
        with pytest.raises(StoreUnavailable):
            worker.refresh.run_once()
    require_fresh_at(worker.refresh.current, started_at + LEASE_SECONDS, LEASE_SECONDS)
    with pytest.raises(SnapshotStale):
        require_fresh_at(worker.refresh.current, started_at + LEASE_SECONDS + 1, LEASE_SECONDS)


def test_other_changes_apply_while_denials_cannot_be_read(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    worker.refresh.run_once()
    deny(deployment, "v")
    deployment.store.deployment.set_max_ttl_seconds(60, event=EVENT)
    worker.ports["denials"].unavailable_from = 0
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    assert worker.refresh.current.max_ttl_seconds == 60


def test_after_a_failure_loading_resumes_where_it_stopped(
    deployment: InMemoryDeployment, worker: CountingWorker, clock: ManualClock
) -> None:
    for number in range(3):
        deny(deployment, *(f"v{number}x{viewer}" for viewer in range(SLICE_ROWS)))
    worker.ports["denials"].unavailable_from = 2
    with pytest.raises(StoreUnavailable):
        worker.refresh.run_once()
    assert len(worker.refresh.denials.denylist) == 2 * SLICE_ROWS
    worker.ports["denials"].unavailable_from = None
    worker.take_calls()
    worker.refresh.run_once()
    assert worker.take_calls()["denials"] == ["changed_since"]
    assert len(worker.refresh.current.denylist) == 3 * SLICE_ROWS
    assert all(is_denied(worker.refresh.current.denylist, f"v2x{viewer}", clock.now()) for viewer in range(SLICE_ROWS))


def test_there_is_a_pause_after_each_slice_however_large_a_change_is(deployment: InMemoryDeployment) -> None:
    """One change number may stand for thousands of rows."""
    deny(deployment, *(f"v{number}" for number in range(10 * SLICE_ROWS)))
    pauses: list[float] = []
    sync = DenylistSync(deployment.store.denials, pauses.append)
    sync.catch_up(deployment.store.versions.read())
    assert len(pauses) == 10
    assert min(pauses) > 0


def test_denials_are_removed_once_they_have_expired_by_every_workers_clock(deployment: InMemoryDeployment) -> None:
    sync = DenylistSync(deployment.store.denials, lambda _: None)
    now = int(deployment.store.versions.read().now)
    deployment.store.denials.add("b", [NewDenial(CHANNEL, viewer_digest(CHANNEL, "v"), now + HOUR)], event=EVENT)
    versions = deployment.store.versions.read()
    for seconds, remaining in ((0, 1), (HOUR + 2 * CLOCK_SKEW_SECONDS - 1, 1), (HOUR + 2 * CLOCK_SKEW_SECONDS + 1, 0)):
        for _ in range(256):
            sync.catch_up(versions._replace(now=now + seconds))
        assert len(sync.denylist) == remaining


def test_restrictions_are_kept_for_the_sessions_that_they_still_end(deployment: InMemoryDeployment) -> None:
    sync = DenylistSync(deployment.store.denials, lambda _: None, retention_seconds=HOUR)
    now = int(deployment.store.versions.read().now)
    deployment.store.denials.add("b", [NewDenial(CHANNEL, viewer_digest(CHANNEL, "v"), now + HOUR)], event=EVENT)
    versions, kept_seconds = deployment.store.versions.read(), 2 * HOUR + 2 * CLOCK_SKEW_SECONDS
    for seconds, remaining in ((kept_seconds - 1, 1), (kept_seconds + 1, 0)):
        for _ in range(256):
            sync.catch_up(versions._replace(now=now + seconds))
        assert len(sync.denylist) == remaining


def test_denials_removed_by_a_wrong_store_clock_are_loaded_again(deployment: InMemoryDeployment) -> None:
    sync = DenylistSync(deployment.store.denials, lambda _: None)
    deny(deployment, "v")
    versions = deployment.store.versions.read()
    sync.catch_up(versions)
    for _ in range(256):
        sync.catch_up(versions._replace(now=versions.now + 2 * HOUR))
    assert not is_denied(sync.denylist, "v", versions.now)
    sync.catch_up(versions)
    assert is_denied(sync.denylist, "v", versions.now)


def test_a_small_step_of_the_stores_clock_reloads_and_loses_nothing(
    deployment: InMemoryDeployment, worker: CountingWorker
) -> None:
    deny(deployment, "v", seconds=60)
    sync = worker.refresh.denials
    versions = deployment.store.versions.read()
    sync.catch_up(versions)
    worker.take_calls()
    for _ in range(256):
        sync.catch_up(versions._replace(now=versions.now + 60 + CLOCK_SKEW_SECONDS))
    now = versions.now + 60
    sync.catch_up(versions._replace(now=now))
    assert worker.take_calls() == {}
    worker_now = now - CLOCK_SKEW_SECONDS  # of a worker whose clock is behind the store's
    assert is_denied(sync.denylist, "v", worker_now)
