"""A deployment in memory, and a worker on its clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.loops.worker import Worker
from tests.stage import Stage


@pytest.fixture
def stage(migrated: Path, tmp_path: Path) -> Stage:
    return Stage(migrated, tmp_path / "keys")


@pytest.fixture
def worker(stage: Stage, clock: ManualClock) -> Worker:
    """A worker whose clock is the store's."""
    clock.wall = stage.store.versions.read().now
    return Worker(stage, clock)
