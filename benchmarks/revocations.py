"""Revocations on their way to IVS, and tokens while denials change: `python -m benchmarks.revocations [--json]`.

Rules of the file
- IVS is the local one with its real rates on, over the wire; one process leads there, with all of them for itself.
- A token's p99 is that of a client of its own, one request after another, while a process changes denials: by turns
  those of the service's store and those of another store, so that the machine is equally busy in both turns.
- Memory is that of a process of its own, before and after it took the entries in.
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
from tokensvc.aws.ivs import AwsControlPlane
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.clock import SystemClock
from tokensvc.container import logs
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.errors import ControlPlaneError
from tokensvc.revocations.denial_store import NewDenial
from tokensvc.revocations.dispatcher import DispatchContext
from tokensvc.revocations.leader import RevocationLeader
from tokensvc.revocations.model import Priority
from tokensvc.revocations.rate_limit import VIEWERS_PER_SECOND
from tokensvc.revocations.store import NewRevocation
from tokensvc.storage import migrate
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.denylist import SLICE_ROWS, Denylist, ViewerRestriction, viewer_digest

DRAIN_SECONDS = 60
ROUNDS = 3
ROUND_SECONDS = 3
CHANGES_PER_SECOND = 1000
WRITES_PER_SECOND = 20
VIEWERS = 50_000
LIMIT_BYTES = 100e6
FEW, MANY = 200_000, 1_000_000
LOADED = 50_000
REACH_SECONDS = 910.0
TARGETS = {
    "drained / what IVS allows": 0.95,
    "told again / told": 0.01,
    "p99 of a token while 1,000 denials a second change / while none does": 1.5,
    "memory of 200,000 denials / 100 MB": 1.0,
}


def main() -> None:
    logs.configure("text")  # what is done for a service writes its lines to standard error, as in a service
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told, sent = _drain(folder)
        alone, beside = _tokens(folder)
        load_seconds = _load_seconds(folder)
    memory = {count: _in_another_process(count) for count in (FEW, MANY)}
    throttled = sum(count for code, count in told.codes.items() if code == "ThrottlingException")
    ratios = {
        "drained / what IVS allows": sent / (DRAIN_SECONDS * VIEWERS_PER_SECOND),
        "told again / told": sum(times - 1 for times in told.viewers.values()) / len(told.viewers),
        "p99 of a token while 1,000 denials a second change / while none does": median(
            one / other for one, other in zip(beside, alone, strict=True)
        ),
        "memory of 200,000 denials / 100 MB": memory[FEW] / LIMIT_BYTES,
    }
    figures: dict[str, Any] = {
        "sent in a minute": sent,
        "calls throttled": throttled,
        "calls by outcome": dict(told.codes),
        "p99 while no denial changes, ms": median(alone),
        "p99 while 1,000 a second change, ms": median(beside),
        "memory of 200,000 denials, MB": memory[FEW] / 1e6,
        "memory of 1,000,000 denials, MB": memory[MANY] / 1e6,
        "loading 50,000 from SQLite, seconds": load_seconds,
    }
    report("revocations", ratios, {**figures, "calls by outcome": str(figures["calls by outcome"])}, TARGETS)


class Told:
    """IVS, and what it was told."""

    def __init__(self, control_plane: AwsControlPlane) -> None:
        self._control_plane = control_plane
        self.viewers: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._control_plane.call(region, operation, request)
        except ControlPlaneError as failure:
            self.codes[failure.ivs_code] += 1
            raise
        self.codes["ok"] += 1
        self.viewers.update(entry["viewerId"] for entry in request.get("viewerSessions", [request]))
        return answer


class Sent(PrometheusMetrics):
    """Metrics that say how many were settled as sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def revocations_dispatched(self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int]) -> None:
        super().revocations_dispatched(sent, failed, deferred, errors_by_code)
        self.sent += sent


def _drain(folder: Path) -> tuple[Told, int]:
    """Let a storm drain for a minute after its first calls."""
    with servers.local_ivs(rates=True) as endpoint:
        os.environ.update(AWS_ENDPOINT_URL_IVS=endpoint.url, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
        channel = boto3.client("ivs", region_name=servers.PLACE.region).create_channel(authorized=True)["channel"][
            "arn"
        ]
        store = _store(folder / "drain.db")
        count = DRAIN_SECONDS * VIEWERS_PER_SECOND + 500
        for start in range(0, count, 1000):
            wanted = [NewRevocation(f"r{n}", (channel,), (f"v{n}",)) for n in range(start, min(start + 1000, count))]
            store.revocations.accept("bench", wanted, Priority.BULK, REACH_SECONDS)
        told, metrics = Told(AwsControlPlane("local")), Sent()
        context = DispatchContext(
            queue=store.revocation_queue, control_plane=told, clock=SystemClock(), jitter=random.random
        )
        leading = RevocationLeader(
            account_region=servers.PLACE,
            context=context,
            leases=store.leases,
            holder="bench",
            metrics=metrics,
            rate_fraction=1.0,
        )
        while not told.codes:
            time.sleep(leading.run_once())
        at_first, ends_at = metrics.sent, time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < ends_at:
            time.sleep(leading.run_once())
        leading.stop()
        store.close()
        return told, metrics.sent - at_first


def _tokens(folder: Path) -> tuple[list[float], list[float]]:
    """The p99 of a token in each round, while the denials of another store change and while the service's do."""
    decoy = f"sqlite:///{folder}/decoy.db"
    migrate.upgrade(decoy)
    p99: dict[str, list[float]] = {decoy: [], f"sqlite:///{folder}/store.db": []}
    with servers.ours(folder) as ours:
        single_p99(ours, 1)
        for _ in range(ROUNDS):
            for url, measured in p99.items():
                with _changing(url):
                    measured.append(single_p99(ours, ROUND_SECONDS))
    alone, beside = p99.values()
    return alone, beside


@contextmanager
def _changing(url: str) -> Iterator[None]:
    """Denials of this store change while the block runs."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    writer = context.Process(target=_change, args=(url, begun), daemon=True)
    writer.start()
    if not begun.wait(30):
        raise SystemExit("the writer did not start")
    try:
        yield
    finally:
        writer.kill()
        writer.join()


def _change(url: str, begun: Any) -> None:
    store, number = open_store(url), 0
    at_once = CHANGES_PER_SECOND // WRITES_PER_SECOND
    next_action_at = time.monotonic()
    while True:
        until = int(time.time()) + 3600
        names = [f"v{(number + n) % VIEWERS}" for n in range(at_once)]
        store.denials.add("bench", [_denial(name, until) for name in names])
        number += at_once
        begun.set()
        next_action_at += 1 / WRITES_PER_SECOND
        time.sleep(max(0.0, next_action_at - time.monotonic()))


def _load_seconds(folder: Path) -> float:
    """How long a worker that starts takes to load so many."""
    store = _store(folder / "load.db")
    until = int(time.time()) + 3600
    for start in range(0, LOADED, 5000):
        store.denials.add("bench", [_denial(f"v{n}", until) for n in range(start, start + 5000)])
    news, began = DenylistSync(store.denials), time.perf_counter()
    news.catch_up(store.versions.read())
    took = time.perf_counter() - began
    if len(news.denylist) != LOADED:
        raise SystemExit(f"{len(news.denylist)} were loaded")
    store.close()
    return took


def _in_another_process(count: int) -> int:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_memory, count).result()


def _memory(count: int) -> int:
    """What so many entries add to what this process holds, in bytes."""
    denied, now = Denylist(), int(time.time())
    before = memory_kib(os.getpid())
    for _ in range(0, count, SLICE_ROWS):
        denied.apply(
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
