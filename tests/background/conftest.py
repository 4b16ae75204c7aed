"""A deployment in memory, and a worker on its clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.refresh_worker import CountingWorker


@pytest.fixture
def stage(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


@pytest.fixture
def worker(stage: InMemoryDeployment, clock: ManualClock) -> CountingWorker:
    """A worker whose clock agrees with the store's."""
    clock.wall = stage.store.versions.read().now
    return CountingWorker(stage, clock)
