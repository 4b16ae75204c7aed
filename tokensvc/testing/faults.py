"""Faults of the local IVS in tests."""

from __future__ import annotations

from typing import Any

from tokensvc.json_models import read_as
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.faults import ALL_OPERATIONS, Faults
from tokensvc.local_ivs.http.management_requests import PlanFaultRequest, read_fault


class IvsFaults:
    """Makes calls of IVS fail. It fails for all accounts of the local IVS alike."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def inject(
        self,
        kind: str,
        operation: str = ALL_OPERATIONS,
        *,
        rate: float = 1.0,
        count: int | None = None,
        delay_seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        """Inject a fault from now on: the arguments and their rules are those of `POST /faults` of the management
        listener. Raises InvalidRequest naming every invalid one."""
        body: dict[str, Any] = {
            "kind": kind,
            "operation": operation,
            "rate": rate,
            "count": count,
            "delaySeconds": delay_seconds,
            "seed": seed,
        }
        self._faults.plan(read_fault(api_model.load(), read_as(PlanFaultRequest, body)))

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()
