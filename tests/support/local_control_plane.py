"""The local IVS in this process as a control plane: no HTTP, its own rate limits on a manual clock, faults drawn from
a seed, and access to what it recorded.

Invariants
- An IVS error becomes the exception that the boto3 adapter would raise; a dropped connection becomes
  ControlPlaneUnavailable, before or after the effect.
- Errors of single batch entries are drawn too: such an entry does not reach the local IVS.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tests.local_ivs.environment import counting_strings
from tests.support.clocks import ManualClock
from tokensvc.aws.arn import AccountRegion
from tokensvc.aws.ivs import ERROR_CLASSES
from tokensvc.errors import ControlPlaneError, ControlPlaneThrottled, ControlPlaneUnavailable
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.faults import FaultKind, Faults
from tokensvc.local_ivs.rate_limits import OperationRateLimiter
from tokensvc.local_ivs.revocations import revoked_version
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

ACCOUNT_REGION = AccountRegion("123456789012", "us-west-2")


class LocalControlPlane:
    """One account of the local IVS."""

    def __init__(self, clock: ManualClock) -> None:
        self.faults = Faults()
        self.entry_errors: tuple[float, str] = (0.0, "")
        """The probability that an entry of a batch fails, and its error code."""
        self.errors: dict[str, ControlPlaneError] = {}
        """By operation, the error of every call to it."""
        self.during_call: Callable[[], object] = lambda: None
        """What others do during a call."""
        self.calls: list[tuple[float, str, int]] = []
        """When which operation was called, for how many viewers."""
        self.outcomes: Counter[str] = Counter()
        """`ok`, or the error code."""
        self.delivered: Counter[str] = Counter()
        """How often each viewer reached the local IVS."""
        self._clock = clock
        self._resources = SqliteResourceStore(":memory:")
        self._ivs = LocalIvs(
            model=api_model.load(),
            resources=self._resources,
            clock=clock,
            random_string=counting_strings(),
            page_secret=b"a secret of pages",
            rate_limiter=OperationRateLimiter(),
        )
        self._random = random.Random(7)

    def close(self) -> None:
        self._resources.close()

    def channel(self) -> str:
        """Create a channel; return its ARN."""
        return str(self._ivs.call(ACCOUNT_REGION, "CreateChannel", {}, "")["channel"]["arn"])

    def revoked(self, channel: str, viewer: str) -> int:
        """The highest revoked version; negative if none was revoked."""
        with self._resources.begin(write=False) as transaction:
            return revoked_version(transaction, channel, viewer, math.inf)

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        entries = request.get("viewerSessions", [request])
        self.calls.append((self._clock.monotonic(), operation, len(entries)))
        try:
            response = self._call(region, operation, request)
        except ControlPlaneError as error:
            self.outcomes[error.ivs_code] += 1
            raise
        self.outcomes["ok"] += 1
        return response

    def _call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.during_call()
        if operation in self.errors:
            raise self.errors[operation]
        fault = self.faults.draw(operation)
        if fault is not None and fault.kind is FaultKind.THROTTLE:
            raise _error(ControlPlaneThrottled, operation, "ThrottlingException", 429)
        if fault is not None and fault.kind is FaultKind.ERROR:
            raise _error(ControlPlaneUnavailable, operation, "InternalServerException", 500)
        if fault is not None and fault.kind is FaultKind.DROP_BEFORE:
            raise _error(ControlPlaneUnavailable, operation, "ConnectionClosedError")
        response = self._execute(region, operation, request)
        if fault is not None and fault.kind is FaultKind.DROP_AFTER:
            raise _error(ControlPlaneUnavailable, operation, "ConnectionClosedError")
        return response

    def _execute(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        rate, code = self.entry_errors
        entries = request.get("viewerSessions")
        rejected = [entry for entry in entries or () if self._random.random() < rate]
        reached = [entry for entry in entries or [request] if entry not in rejected]
        response: dict[str, Any] = {}
        if reached:
            sent = request if entries is None else {"viewerSessions": reached}
            try:
                response = self._ivs.call(AccountRegion(ACCOUNT_REGION.account, region), operation, sent, "")
            except IvsError as error:
                raise _error(ERROR_CLASSES[error.code], operation, error.code) from None
            self.delivered.update(entry["viewerId"] for entry in reached)
        errors = [{**{k: e[k] for k in ("channelArn", "viewerId")}, "code": code, "message": ""} for e in rejected]
        return {"errors": response.get("errors", []) + errors} if errors or response else response


def _error(kind: type[ControlPlaneError], operation: str, code: str, status: int = 0) -> ControlPlaneError:
    return kind(f"IVS responded to {operation} with {code}", operation=operation, ivs_code=code, status=status)
