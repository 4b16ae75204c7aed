"""The local IVS in this process as a control plane: no HTTP, its own rate limits on a manual clock, faults drawn from
a seed, and access to what it recorded.

Invariants
- An IVS error becomes the exception that the boto3 adapter would raise; a dropped connection becomes
  ControlPlaneUnavailable, before or after the effect.
- Errors of single batch entries are drawn too: such an entry does not reach the local IVS.
"""

from __future__ import annotations

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

PLACE = AccountRegion("123456789012", "us-west-2")


class LocalPlane:
    """One account of the local IVS."""

    def __init__(self, clock: ManualClock) -> None:
        self.faults = Faults()
        self.entry_errors: tuple[float, str] = (0.0, "")
        """How often an entry of a batch is refused, and with which code."""
        self.refuse: dict[str, ControlPlaneError] = {}
        """By operation, what every call to it gets."""
        self.meanwhile: Callable[[], object] = lambda: None
        """What somebody else does while a call is under way."""
        self.calls: list[tuple[float, str, int]] = []
        """When which operation was called, for how many viewers."""
        self.outcomes: Counter[str] = Counter()
        """`ok`, or the failure's code."""
        self.told: Counter[str] = Counter()
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
        self._dice = random.Random(7)

    def close(self) -> None:
        self._resources.close()

    def channel(self) -> str:
        """Create a channel; return its ARN."""
        return str(self._ivs.call(PLACE, "CreateChannel", {}, "")["channel"]["arn"])

    def revoked(self, channel: str, viewer: str) -> int:
        """The highest revoked version; negative if none was revoked."""
        with self._resources.begin(write=False) as transaction:
            return revoked_version(transaction, channel, viewer)

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        entries = request.get("viewerSessions", [request])
        self.calls.append((self._clock.monotonic(), operation, len(entries)))
        try:
            response = self._call(region, operation, request)
        except ControlPlaneError as failure:
            self.outcomes[failure.ivs_code] += 1
            raise
        self.outcomes["ok"] += 1
        return response

    def _call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.meanwhile()
        if operation in self.refuse:
            raise self.refuse[operation]
        fault = self.faults.draw(operation)
        if fault is not None and fault.kind is FaultKind.THROTTLE:
            raise _failure(ControlPlaneThrottled, operation, "ThrottlingException", 429)
        if fault is not None and fault.kind is FaultKind.ERROR:
            raise _failure(ControlPlaneUnavailable, operation, "InternalServerException", 500)
        if fault is not None and fault.kind is FaultKind.DROP_BEFORE:
            raise _failure(ControlPlaneUnavailable, operation, "ConnectionClosedError")
        response = self._perform(region, operation, request)
        if fault is not None and fault.kind is FaultKind.DROP_AFTER:
            raise _failure(ControlPlaneUnavailable, operation, "ConnectionClosedError")
        return response

    def _perform(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        rate, code = self.entry_errors
        entries = request.get("viewerSessions")
        refused = [entry for entry in entries or () if self._dice.random() < rate]
        reached = [entry for entry in entries or [request] if entry not in refused]
        response: dict[str, Any] = {}
        if reached:
            asked = request if entries is None else {"viewerSessions": reached}
            try:
                response = self._ivs.call(AccountRegion(PLACE.account, region), operation, asked, "")
            except IvsError as refusal:
                raise _failure(ERROR_CLASSES[refusal.code], operation, refusal.code) from None
            self.told.update(entry["viewerId"] for entry in reached)
        errors = [{**{k: e[k] for k in ("channelArn", "viewerId")}, "code": code, "message": ""} for e in refused]
        return {"errors": response.get("errors", []) + errors} if errors or response else response


def _failure(kind: type[ControlPlaneError], operation: str, code: str, status: int = 0) -> ControlPlaneError:
    return kind(f"IVS answered {operation} with {code}", operation=operation, ivs_code=code, status=status)
