"""What observes a process: its metrics, its log at level debug, and its traces where they are on.

Invariants
- The library of traces is loaded only if `TOKENSVC_TRACING` is on.
- An observer returns soon and raises nothing.
"""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any

import tokensvc
from tokensvc.container.otel_variables import check_otel_variables
from tokensvc.container.sampled_metrics import measure_store
from tokensvc.log import structlog
from tokensvc.metrics import Metrics
from tokensvc.runner import IDLE, RunFunction
from tokensvc.settings import Settings
from tokensvc.storage.store import Store

if TYPE_CHECKING:
    from tokensvc.container.tracing import Tracing

_log = structlog.get_logger(__name__)


class Observers:
    """The observers of one process."""

    def __init__(self, metrics: Metrics, tracing: Tracing | None) -> None:
        self.metrics = metrics
        self.tracing = tracing

    def ivs(self, operation: str, code: str, seconds: float) -> None:
        """Observe a request to IVS (`aws.ivs.CallObserver`)."""
        self.metrics.ivs_request(operation, code, seconds)
        if self.tracing is not None:
            self.tracing.observe_ivs(operation, code, seconds)
        _log.debug("IVS request", operation=operation, code=code, duration_ms=round(seconds * 1000, 3))

    def store(self, store: Store) -> None:
        """Observe the transactions of a store from now on."""
        if self.tracing is None:
            measure_store(store, self.metrics)
        else:
            measure_store(store, self.metrics, self.tracing.observe_store)

    def task(self, name: str, run_once: RunFunction) -> RunFunction:
        """The same run of a background task, observed."""
        traced = run_once if self.tracing is None else self.tracing.task(name, run_once)

        @functools.wraps(run_once)
        def run() -> Any:
            started_at = time.monotonic()
            result = traced()
            if result is not IDLE:
                duration_ms = round((time.monotonic() - started_at) * 1000, 3)
                _log.debug("background task run", task=name, duration_ms=duration_ms)
            return result

        return run

    def limiter(self, seconds: float) -> None:
        """Observe a wait for the shared limiter."""
        self.metrics.limiter_decided(seconds)
        if self.tracing is not None:
            self.tracing.observe_wait("limiter", seconds)

    def policy_hook(self, seconds: float) -> None:
        """Observe a wait for the policy hook."""
        self.metrics.policy_hook_decided(seconds)
        if self.tracing is not None:
            self.tracing.observe_wait("policy hook", seconds)

    def headers(self) -> dict[str, str]:
        """The headers that continue the present trace in another service."""
        return {} if self.tracing is None else self.tracing.headers()

    def close(self) -> None:
        """Export the spans that are queued, for a bounded time."""
        if self.tracing is not None:
            self.tracing.close()


def check_tracing(settings: Settings) -> None:
    """Raise SettingsError if traces are on and a variable of OpenTelemetry's cannot be used."""
    if settings.tracing:
        check_otel_variables(os.environ)


def start_observers(settings: Settings, metrics: Metrics, instance: str) -> Observers:
    """Start to observe this process, which is `instance` among those of the deployment. Raises SettingsError."""
    if not settings.tracing:
        return Observers(metrics, None)
    check_tracing(settings)
    from tokensvc.container.tracing import start_tracing

    url = settings.database_url.get_secret_value() if settings.database_url is not None else ""
    tracing = start_tracing(
        ratio=settings.trace_ratio,
        version=tokensvc.__version__,
        instance=instance,
        database_url=url,
        on_dropped=metrics.spans_dropped,
    )
    return Observers(metrics, tracing)
