"""Dispatching revocations while processes are killed and databases restarted: none is lost, none is throttled.

Invariants
- Processes and the local IVS's rate limits are real: a request that comes too early is throttled, and counted.
- A claim of a killed process expires after a minute of the store's clock; a test lets it expire immediately.
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.storage.samples import MAX_STALENESS_SECONDS, make_due
from tests.support.audit import EVENT
from tests.support.http_client import Client
from tests.support.postgres import PostgresServer
from tests.support.processes import Process, environment, started, wait_until
from tests.support.recorded_ivs import BATCH, SINGLE, RecordedIvs, recorded_ivs
from tokensvc.errors import StoreUnavailable
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.rate_limit import BATCH_CALLS_PER_SECOND, SINGLE_CALLS_PER_SECOND, VIEWERS_PER_SECOND
from tokensvc.revocations.store import NewRevocation
from tokensvc.storage import migrate
from tokensvc.storage.store import Store, open_store

pytestmark = pytest.mark.long

LEASE_SECONDS = 4.0
WORK = f"""
import os
from tokensvc.container.logs import configure
from tokensvc.supervisor import run_background
from tokensvc.settings import read_settings
settings = {{name: value for name, value in os.environ.items() if name.startswith("TOKENSVC_")}}
configure("json")
run_background(read_settings(settings), dispatch_lease_seconds={LEASE_SECONDS})
"""
"""`tokensvc worker` with a shorter lease."""


class DispatchDeployment:
    """A store, a channel, and the processes that use them."""

    def __init__(self, url: str, ivs: RecordedIvs, folder: Path) -> None:
        migrate.upgrade(url)
        self.store: Store = open_store(url)
        self.ivs = ivs
        self.channel = ivs.channel()
        self.accepted_versions: dict[str, int] = {}
        self._folder = folder
        self._environ = environment(
            folder / "home",
            {
                "TOKENSVC_CONTROL_PLANE": "local",
                "TOKENSVC_DATABASE_URL": url,
                "TOKENSVC_PASSPHRASE": secrets.token_hex(32),
                "TOKENSVC_VAULT": "store",
                "TOKENSVC_STORE_TIMEOUT_SECONDS": "2",
                "AWS_ENDPOINT_URL_IVS": ivs.url,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            },
        )

    def accept(self, count: int) -> None:
        """Accept that many revocations."""
        revocations = [NewRevocation(f"r{n}", (self.channel,), (f"v{n}",)) for n in range(count)]
        for new, accepted in zip(
            revocations,
            self.store.revocations.accept("b", revocations, Priority.BULK, MAX_STALENESS_SECONDS, events=[EVENT]),
            strict=True,
        ):
            self.accepted_versions[new.viewer_ids[0]] = accepted.version

    def work(self, name: str) -> AbstractContextManager[Process]:
        """A process that runs the background tasks."""
        return started([sys.executable, "-c", WORK], self._folder, self._environ, name)

    def accept_single(self, viewer: str) -> None:
        """Accept a single revocation."""
        [accepted] = self.store.revocations.accept(
            "b",
            [NewRevocation(viewer, (self.channel,), (viewer,))],
            Priority.INTERACTIVE,
            MAX_STALENESS_SECONDS,
            events=[EVENT],
        )
        self.accepted_versions[viewer] = accepted.version

    def has_delivered(self, count: int) -> bool:
        return len(self.ivs.delivered()) >= count

    def has_delivered_since_now(self) -> Callable[[], bool]:
        """A condition: IVS has accepted more since now."""
        so_far = len(self.ivs.delivered())
        return lambda: self.has_delivered(so_far + 1)

    def has_responded(self) -> Callable[[], bool]:
        """A condition: IVS has responded since now, in any way."""
        so_far = len(self.ivs.calls)
        return lambda: len(self.ivs.calls) > so_far

    def is_drained(self) -> bool:
        with contextlib.suppress(StoreUnavailable):
            return not self.store.revocation_queue.backlogs()
        return False

    def check_nothing_lost(self) -> None:
        """Check that IVS recorded every accepted revocation."""
        for viewer, version in self.accepted_versions.items():
            assert self.ivs.revoked(self.channel, viewer) == version, viewer

    def check(self) -> None:
        """Check that nothing was lost or throttled."""
        self.check_nothing_lost()
        assert self.ivs.throttled() == 0
        assert self.ivs.busiest_second(SINGLE) <= SINGLE_CALLS_PER_SECOND
        assert self.ivs.busiest_second(BATCH) <= BATCH_CALLS_PER_SECOND


@pytest.fixture
def ivs() -> Iterator[RecordedIvs]:
    with recorded_ivs() as running:
        yield running


@pytest.fixture
def on_postgresql(ivs: RecordedIvs, postgres: PostgresServer, tmp_path: Path) -> Iterator[DispatchDeployment]:
    deployment = DispatchDeployment(postgres.url(postgres.fresh()), ivs, tmp_path)
    yield deployment
    deployment.store.close()


@pytest.fixture
def on_sqlite(ivs: RecordedIvs, tmp_path: Path) -> Iterator[DispatchDeployment]:
    deployment = DispatchDeployment(f"sqlite:///{tmp_path}/store.db", ivs, tmp_path)
    yield deployment
    deployment.store.close()


def leader(*processes: Process) -> Process:
    """The process that dispatches revocations."""
    [found] = wait_until(
        lambda: [p for p in processes if "now dispatching revocations to IVS" in p.err], "a process dispatches"
    )
    return found


def test_one_of_two_processes_dispatches_and_the_other_takes_over_within_the_lease(
    on_postgresql: DispatchDeployment,
) -> None:
    deployment = on_postgresql
    with deployment.work("one") as one, deployment.work("two") as two:
        deployment.accept(200)
        wait_until(lambda: deployment.has_delivered(50), "50 revocations are delivered")
        killed = leader(one, two)
        other = two if killed is one else one
        assert "now dispatching revocations to IVS" not in other.err
        killed.kill()
        killed_at = time.monotonic()
        wait_until(deployment.has_delivered_since_now(), "the other process dispatches", LEASE_SECONDS + 10)
        resumed_at = min(call.at for call in deployment.ivs.calls if call.at > killed_at + 0.2)
        assert resumed_at - killed_at < LEASE_SECONDS * 7 / 6 + 5, (
            "it took longer than the lease, a sixth of it, the first second, and the delays of a busy machine"
        )
        make_due(deployment.store)
        wait_until(deployment.is_drained, "the queue is empty")
        other.stop()
        assert deployment.store.leases.held("dispatch:000000000000:us-east-1") is None, (
            "the lease was not released at shutdown"
        )
    deployment.check()
    repeated = sum(times - 1 for times in deployment.ivs.delivered().values())
    assert repeated <= VIEWERS_PER_SECOND, "more was repeated than could be in flight at the kill"


def test_on_sqlite_another_process_takes_over_after_a_kill_and_nothing_is_lost(on_sqlite: DispatchDeployment) -> None:
    deployment = on_sqlite
    deployment.accept(130)
    for killed in range(2):
        with deployment.work(f"work{killed}") as process:
            process.wait_until(deployment.has_delivered_since_now(), "revocations are delivered")
            process.kill()
        make_due(deployment.store)
    with deployment.work("last") as process:
        process.wait_until(deployment.is_drained, "the queue is empty")
    deployment.check()


def test_dispatching_resumes_when_the_database_has_restarted(
    on_postgresql: DispatchDeployment, postgres: PostgresServer
) -> None:
    deployment = on_postgresql
    deployment.accept(200)
    with deployment.work("worker") as process:
        process.wait_until(lambda: deployment.has_delivered(50), "revocations are delivered")
        postgres.stop()
        postgres.start()
        process.wait_until(lambda: deployment.has_delivered(150), "dispatching resumes")
        make_due(deployment.store)
        process.wait_until(deployment.is_drained, "the queue is empty")
        assert "Traceback" not in process.err
    deployment.check()
    assert sum(times - 1 for times in deployment.ivs.delivered().values()) <= VIEWERS_PER_SECOND


FAULTS = ("drop-before", "drop-after", "throttle", "error", "entry-error")


def inject_faults(management: Client) -> None:
    """Inject each kind of fault into three of ten calls or entries."""
    for seed, kind in enumerate(FAULTS):
        plan = json.dumps({"kind": kind, "operation": "*", "rate": 0.3, "seed": seed})
        assert management.request("POST", "/faults", plan).status == 201


def drawn_faults(management: Client) -> dict[str, int]:
    """How often each kind of fault occurred."""
    return {fault["kind"]: fault["drawn"] for fault in management.request("GET", "/faults").json["faults"]}


def are_enough(drawn: dict[str, int]) -> bool:
    """Whether most kinds of faults occurred."""
    return all(drawn[kind] for kind in ("drop-before", "entry-error")) and sum(map(bool, drawn.values())) >= 4


@pytest.mark.parametrize("database", ["on_postgresql", "on_sqlite"])
def test_nothing_is_lost_with_every_ivs_fault_and_processes_killed_at_any_moment(
    database: str, request: pytest.FixtureRequest
) -> None:
    deployment: DispatchDeployment = request.getfixturevalue(database)
    rng = random.Random(database)
    deployment.accept(400)
    with Client(deployment.ivs.management_url) as management:
        inject_faults(management)
        for killed in range(3):
            with deployment.work(f"work{killed}") as process:
                process.wait_until(deployment.has_responded(), "IVS responds to it")
                deployment.accept_single(f"single{killed}")
                if killed == 2:
                    process.wait_until(lambda: are_enough(drawn_faults(management)), "enough kinds of faults occurred")
                time.sleep(rng.uniform(0, 1.5))  # a random moment
                process.kill()
            make_due(deployment.store)
        assert are_enough(drawn_faults(management))
        assert management.request("DELETE", "/faults").status == 204
    with deployment.work("last") as process:
        process.wait_until(deployment.is_drained, "the queue is empty", 60)
    deployment.check_nothing_lost()
    states = {revocation.state for revocation in deployment.store.revocations.list(("*",), limit=1000)}
    assert states == {RevocationState.SENT}
