"""max_staleness covers every worker of the deployment, whichever process computes it."""

from __future__ import annotations

import pytest

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.container.deployment import deployment_max_staleness
from tokensvc.deployment.workers import Heartbeat
from tokensvc.settings import read_settings
from tokensvc.storage.store import Store

OWN = {"TOKENSVC_SNAPSHOT_LEASE_SECONDS": "100", "TOKENSVC_STORE_TIMEOUT_SECONDS": "7"}


@pytest.mark.parametrize(
    ("lease_seconds", "store_timeout_seconds", "longest"),
    [
        pytest.param(50.0, 5.0, 107, id="this process has the longest"),
        pytest.param(100.0, 60.0, 160, id="another worker has a longer store timeout"),
        pytest.param(900.0, 1.0, 901, id="another worker has a longer lease"),
        pytest.param(0.0, 60.0, 107, id="a worker that never signs does not count"),
    ],
)
def test_the_deployment_has_the_max_staleness_of_its_slowest_worker(
    store: Store, lease_seconds: float, store_timeout_seconds: float, longest: float
) -> None:
    store.workers.record_heartbeat(Heartbeat("short:1:a", "here", 1, 1.0, 1, 1, 1.0))
    store.workers.record_heartbeat(Heartbeat("other:1:b", "there", 1, lease_seconds, 1, 1, store_timeout_seconds))
    assert deployment_max_staleness(read_settings(OWN), store) == longest + CLOCK_SKEW_SECONDS
