"""A deployment in memory, and a worker on its clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clocks import ManualClock
from tests.support.in_memory_deployment import InMemoryDeployment
from tests.support.refresh_worker import CountingWorker


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


@pytest.fixture
def worker(deployment: InMemoryDeployment, clock: ManualClock) -> CountingWorker:
    """A worker whose clock agrees with the store's."""
    clock.wall = deployment.store.versions.read().now
    return CountingWorker(deployment, clock)
