"""Dispatch of revocations to IVS, and tokens while denials change: `python -m benchmarks.revocations [--json]`.

Invariants
- Revocations go over HTTP to the local IVS with IVS's rate limits on; a single leader has all of them.
- The p99 of a token is measured by a separate client that sends one request after another while another process changes
  denials: alternately those of the service's store and those of another store, so that the machine is equally busy.
- Memory is measured in a new process, before and after it loads the entries.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import boto3

from benchmarks import servers
from benchmarks.http import memory_kib, single_p99
from benchmarks.report import report
from tokensvc.audit.record import Actor, ActorKind
from tokensvc.audit.requester import Requester
from tokensvc.aws.ivs import AwsControlPlane
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.clock import SystemClock
from tokensvc.container import logs
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.errors import ControlPlaneError
from tokensvc.revocations.dispatcher import DispatchContext
from tokensvc.revocations.leader import RevocationLeader
from tokensvc.revocations.model import Priority
from tokensvc.revocations.rate_limit import VIEWERS_PER_SECOND
from tokensvc.revocations.store import NewDenial, NewRevocation
from tokensvc.storage import migrate
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.denylist import SLICE_ROWS, Denylist, ViewerRestriction, viewer_digest

DRAIN_SECONDS = 60
ROUNDS = 3
ROUND_SECONDS = 3
CHANGES_PER_SECOND = 1000
WRITES_PER_SECOND = 20
VIEWERS = 50_000
MEMORY_LIMIT_BYTES = 100e6
FEW, MANY = 200_000, 1_000_000
LOADED_DENIALS = 50_000
MAX_STALENESS_SECONDS = 910.0
_EVENT = Requester(Actor(ActorKind.SYSTEM, "benchmark")).event("test")
TARGETS = {
    "revocations sent / IVS's rate limit": 0.95,
    "repeated sends / viewers": 0.01,
    "p99 of a token while 1,000 denials per second change / while none change": 1.5,
    "memory of 200,000 denials / 100 MB": 1.0,
}


def main() -> None:
    logs.configure("text")  # tokensvc's code writes its log to standard error, as in the service
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        control_plane, sent = _drain(folder)
        alone, while_changing = _tokens(folder)
        load_seconds = _load_seconds(folder)
    memory = {count: _memory_in_new_process(count) for count in (FEW, MANY)}
    throttled = sum(count for code, count in control_plane.codes.items() if code == "ThrottlingException")
    ratios = {
        "revocations sent / IVS's rate limit": sent / (DRAIN_SECONDS * VIEWERS_PER_SECOND),
        "repeated sends / viewers": sum(times - 1 for times in control_plane.viewers.values())
        / len(control_plane.viewers),
        "p99 of a token while 1,000 denials per second change / while none change": median(
            one / other for one, other in zip(while_changing, alone, strict=True)
        ),
        "memory of 200,000 denials / 100 MB": memory[FEW] / MEMORY_LIMIT_BYTES,
    }
    figures: dict[str, Any] = {
        "sent in a minute": sent,
        "calls throttled": throttled,
        "calls by outcome": dict(control_plane.codes),
        "p99 while no denials change, ms": median(alone),
        "p99 while 1,000 per second change, ms": median(while_changing),
        "memory of 200,000 denials, MB": memory[FEW] / 1e6,
        "memory of 1,000,000 denials, MB": memory[MANY] / 1e6,
        "loading 50,000 from SQLite, seconds": load_seconds,
    }
    report("revocations", ratios, {**figures, "calls by outcome": str(figures["calls by outcome"])}, TARGETS)


class RecordingControlPlane:
    """IVS's control plane; counts response codes and revoked viewers."""

    def __init__(self, control_plane: AwsControlPlane) -> None:
        self._control_plane = control_plane
        self.viewers: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = self._control_plane.call(region, operation, request)
        except ControlPlaneError as failure:
            self.codes[failure.ivs_code] += 1
            raise
        self.codes["ok"] += 1
        self.viewers.update(entry["viewerId"] for entry in request.get("viewerSessions", [request]))
        return response


class CountingMetrics(PrometheusMetrics):
    """Metrics that also count the revocations recorded as sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def revocations_dispatched(self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int]) -> None:
        super().revocations_dispatched(sent, failed, deferred, errors_by_code)
        self.sent += sent


def _drain(folder: Path) -> tuple[RecordingControlPlane, int]:
    """Dispatch a large queue of revocations, and count those sent in the minute after the first calls."""
    with servers.run_local_ivs(rate_limits=True) as endpoint:
        os.environ.update(AWS_ENDPOINT_URL_IVS=endpoint.url, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
        client = boto3.client("ivs", region_name=servers.ACCOUNT_REGION.region)
        channel_arn = client.create_channel(authorized=True)["channel"]["arn"]
        store = _store(folder / "drain.db")
        count = DRAIN_SECONDS * VIEWERS_PER_SECOND + 500
        for start in range(0, count, 1000):
            numbers = range(start, min(start + 1000, count))
            revocations = [NewRevocation(f"r{n}", (channel_arn,), (f"v{n}",)) for n in numbers]
            store.revocations.accept("bench", revocations, Priority.BULK, MAX_STALENESS_SECONDS, events=[_EVENT])
        control_plane, metrics = RecordingControlPlane(AwsControlPlane("local")), CountingMetrics()
        context = DispatchContext(
            queue=store.revocation_queue, control_plane=control_plane, clock=SystemClock(), jitter=random.random
        )
        leader = RevocationLeader(
            account_region=servers.ACCOUNT_REGION,
            context=context,
            leases=store.leases,
            holder="bench",
            metrics=metrics,
            rate_fraction=1.0,
        )
        while not control_plane.codes:
            time.sleep(leader.run_once())
        sent_before, ends_at = metrics.sent, time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < ends_at:
            time.sleep(leader.run_once())
        leader.stop()
        store.close()
        return control_plane, metrics.sent - sent_before


def _tokens(folder: Path) -> tuple[list[float], list[float]]:
    """The p99 of a token in each round, while another store's denials change and while the service's do."""
    decoy = f"sqlite:///{folder}/decoy.db"
    migrate.upgrade(decoy)
    p99: dict[str, list[float]] = {decoy: [], f"sqlite:///{folder}/store.db": []}
    with servers.deployed_service(folder) as service:
        single_p99(service, 1)
        for _ in range(ROUNDS):
            for url, measured in p99.items():
                with _changing_denials(url):
                    measured.append(single_p99(service, ROUND_SECONDS))
    alone, while_changing = p99.values()
    return alone, while_changing


@contextmanager
def _changing_denials(url: str) -> Iterator[None]:
    """Change denials of this store while the block runs."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    writer = context.Process(target=_change, args=(url, started), daemon=True)
    writer.start()
    if not started.wait(30):
        raise SystemExit("the writer did not start")
    try:
        yield
    finally:
        writer.kill()
        writer.join()


def _change(url: str, started: Any) -> None:
    store, number = open_store(url), 0
    batch_size = CHANGES_PER_SECOND // WRITES_PER_SECOND
    next_action_at = time.monotonic()
    while True:
        until = int(time.time()) + 3600
        names = [f"v{(number + n) % VIEWERS}" for n in range(batch_size)]
        store.denials.add("bench", [_denial(name, until) for name in names], event=_EVENT)
        number += batch_size
        started.set()
        next_action_at += 1 / WRITES_PER_SECOND
        time.sleep(max(0.0, next_action_at - time.monotonic()))


def _load_seconds(folder: Path) -> float:
    """How long a starting worker takes to load LOADED_DENIALS denials."""
    store = _store(folder / "load.db")
    until = int(time.time()) + 3600
    for start in range(0, LOADED_DENIALS, 5000):
        store.denials.add("bench", [_denial(f"v{n}", until) for n in range(start, start + 5000)], event=_EVENT)
    sync, started = DenylistSync(store.denials), time.perf_counter()
    sync.catch_up(store.versions.read())
    took = time.perf_counter() - started
    if len(sync.denylist) != LOADED_DENIALS:
        raise SystemExit(f"{len(sync.denylist)} denials were loaded, not {LOADED_DENIALS}")
    store.close()
    return took


def _memory_in_new_process(count: int) -> int:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_memory, count).result()


def _memory(count: int) -> int:
    """How many bytes `count` entries add to this process's memory."""
    denylist, now = Denylist(), int(time.time())
    before = memory_kib(os.getpid())
    for _ in range(0, count, SLICE_ROWS):
        denylist.apply(
            [(secrets.token_bytes(16), ViewerRestriction(now + 3600, now + 910)) for _ in range(SLICE_ROWS)], now
        )
    return (memory_kib(os.getpid()) - before) * 1024


def _denial(viewer: str, until: int) -> NewDenial:
    return NewDenial(str(servers.CHANNEL), viewer_digest(str(servers.CHANNEL), viewer), until)


def _store(path: Path) -> Store:
    migrate.upgrade(f"sqlite:///{path}")
    return open_store(f"sqlite:///{path}")


if __name__ == "__main__":
    main()
