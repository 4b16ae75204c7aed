"""Rotations in processes that kill themselves, and processes that complete them: `-m tests.e2e.killed_rotations`.

Invariants
- Each rotation and each reconciliation is a separate process, which opens store, vault and connections itself. It is
  forked from a process that has loaded the code and IVS's model, because loading takes longer than the rest.
- A rotation is killed with SIGKILL before one of its steps: the next step in each round, until one completes.
- Before each round, the processes' clock is advanced until every retired key has drained.
- Each round prints a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.support.audit import REQUESTER
from tests.support.crashes import CrashPoint
from tests.support.in_memory_deployment import READ_OPERATIONS
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.clock import Clock, StoreClock
from tokensvc.container.control_plane import configured_regions, make_control_plane
from tokensvc.container.keys_context import make_keys_context, new_worker_id
from tokensvc.container.store import open_configured_store
from tokensvc.container.vault import make_cipher, open_vault
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import GRACE_SECONDS, owner_tags, sync_inventory
from tokensvc.settings import read_settings

ROUND_SECONDS = 200_000.0
"""Longer than any drain."""


class Ahead:
    """A clock that is ahead of another."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def now(self) -> float:
        return self._clock.now() + self._seconds

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._seconds

    def sleep(self, seconds: float) -> None:
        self._seconds += seconds


def make_context(clock_offset_seconds: float, ivs: ControlPlane) -> KeysContext:
    """This process's dependencies. The lease of a killed process has expired by then."""
    settings = read_settings(os.environ)
    store = open_configured_store(settings)
    vault = open_vault(settings, store, make_cipher(settings, store))
    clock = Ahead(StoreClock(store.versions.read().now), clock_offset_seconds)
    context = make_keys_context(
        settings=settings,
        store=store,
        vault=vault,
        control_plane=ivs,
        clock=clock,
        lease_holder=new_worker_id(),
        requester=REQUESTER,
        report=lambda _text: None,
    )
    return replace(context, sleep=clock.sleep, acquire_lease=lambda: True)


def rotate(open_context: Callable[[], KeysContext], at: int | None) -> dict[str, Any]:
    """A complete rotation, unless the process is killed."""
    context = open_context()
    crash_point = CrashPoint(at, callback=lambda: os.kill(os.getpid(), signal.SIGKILL))
    counted = {
        name: crash_point.wrap(getattr(context, name), reads=READ_OPERATIONS)
        for name in ("keys", "deployment", "journal", "rotation_requests", "vault", "control_plane")
    }
    commands.rotate(replace(context, **counted), configured_regions(read_settings(os.environ)), "a test")
    return {"steps": crash_point.count}


def reconcile(open_context: Callable[[], KeysContext]) -> dict[str, Any]:
    """Complete what a killed process left unfinished, and return the resulting state."""
    context = open_context()
    regions = configured_regions(read_settings(os.environ))
    open_before = [entry.kind for entry in context.journal.open_entries()]
    commands.reconcile_and_wait(context, regions)
    imported = {
        placement.arn: placement
        for record in context.keys.list()
        for placement in record.placements
        if placement.is_imported
    }
    inventory = sync_inventory(context, regions[0])
    return {
        "open_before": open_before,
        "states": {placement.key_id: placement.state for placement in imported.values()},
        "store_and_ivs_agree": {str(pair["arn"]): owner_tags(pair) for pair in inventory.pairs}
        == {arn: (inventory.deployment_id, placement.key_id) for arn, placement in imported.items()},
        "vault": sorted(context.vault.key_ids()),
        "unplaced": [record.id for record in context.keys.list() if not record.placements],
        "open_entries": len(context.journal.open_entries()),
        "problems": inventory.problems,
    }


def in_a_process(function: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """The exit code and the output of a process that runs this."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(function()).encode())
            os._exit(0)
        finally:  # the child never returns into the parent's code
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        text = output.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), json.loads(text or "{}")


def main(stride: int) -> None:
    """Rotate twice without a kill, then with a kill before every `stride`th step in turn."""
    ivs = make_control_plane(read_settings(os.environ))
    for number in itertools.count():
        now, at = number * ROUND_SECONDS, stride * (number - 2) if number >= 2 else None
        code, rotated = in_a_process(partial(rotate, partial(make_context, now, ivs), at))
        reconcile_code, state = in_a_process(partial(reconcile, partial(make_context, now + GRACE_SECONDS + 1, ivs)))
        print(json.dumps({"at": at, "code": code, "reconcile_code": reconcile_code, **rotated, **state}), flush=True)
        if reconcile_code != 0 or code not in (0, -signal.SIGKILL) or (code == 0 and at is not None):
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
