"""What a token request may have to wait for besides its channel: a shared rate limiter, a policy hook.

Invariants
- Only a deployment that has one of them has an admission. Without, requests take the path that awaits nothing.
- An admission decides about all requests of a batch together, in one wait; each gets its own decision.
- A decision narrows what policy granted and never widens it. If a decision would, the request is rejected.
- After the wait the caller, the snapshot and the limits of this worker are judged anew (`endpoints/tokens.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from tokensvc.callers.policy import Caller, Resolution
from tokensvc.errors import PolicyHookUnavailable, TokensvcError
from tokensvc.origins import covers
from tokensvc.tokens.authorization import AuthorizedRequest
from tokensvc.tokens.claims import MAXIMUM_RESOLUTIONS
from tokensvc.tokens.request import TokenRequest, combined_field_errors


class AdmissionRequest(NamedTuple):
    """A token that policy allows, and for whom."""

    caller: Caller
    request: TokenRequest
    """With everything that policy forces."""
    max_ttl_seconds: int
    """The longest that the token may live, by policy and deployment."""
    client_address: str
    """The client's address; "" when the server does not know it."""
    request_id: str


class Narrowing(NamedTuple):
    """What a token is restricted to. The defaults restrict nothing."""

    max_ttl_seconds: int | None = None
    maximum_resolution: Resolution | None = None
    allowed_origins: tuple[str, ...] | None = None


ADMITTED = Narrowing()
Decision = Narrowing | TokensvcError
"""An error refuses the request."""


class Admission(Protocol):
    """Decides about token requests by asking something outside this process."""

    async def admit(self, requests: Sequence[AdmissionRequest]) -> list[Decision]:
        """One decision for each request, in order. Never raises TokensvcError."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class BothAdmissions:
    """The second is asked about what the first admits; only the second narrows."""

    def __init__(self, first: Admission, second: Admission) -> None:
        self._first = first
        self._second = second

    async def admit(self, requests: Sequence[AdmissionRequest]) -> list[Decision]:
        decisions = await self._first.admit(requests)
        admitted = [position for position, found in enumerate(decisions) if not isinstance(found, TokensvcError)]
        if admitted:
            second = await self._second.admit([requests[position] for position in admitted])
            for position, decision in zip(admitted, second, strict=True):
                decisions[position] = decision
        return decisions

    async def close(self) -> None:
        await self._first.close()
        await self._second.close()


class TimedAdmission:
    """Measures how long an admission is waited for, whatever it decides."""

    def __init__(self, admission: Admission, observe: Callable[[float], None]) -> None:
        """`observe` gets the seconds."""
        self._admission = admission
        self._observe = observe
        self.close = admission.close

    async def admit(self, requests: Sequence[AdmissionRequest]) -> list[Decision]:
        started_at = perf_counter()
        try:
            return await self._admission.admit(requests)
        finally:
            self._observe(perf_counter() - started_at)


def narrowed(authorized: AuthorizedRequest, decision: Decision) -> AuthorizedRequest:
    """What policy granted, restricted by the decision. Raises the decision if it is an error, and PolicyHookUnavailable
    if it has origins that policy did not grant."""
    if isinstance(decision, TokensvcError):
        raise decision
    request, limits = authorized
    changes: dict[str, Any] = {}
    if decision.max_ttl_seconds is not None:
        limits = limits._replace(max_ttl_seconds=min(limits.max_ttl_seconds, decision.max_ttl_seconds))
        if request.ttl_seconds is not None:
            changes["ttl_seconds"] = min(request.ttl_seconds, limits.max_ttl_seconds)
    if decision.maximum_resolution is not None:
        changes["maximum_resolution"] = min(
            request.maximum_resolution or MAXIMUM_RESOLUTIONS[-1],
            decision.maximum_resolution,
            key=MAXIMUM_RESOLUTIONS.index,
        )
    if decision.allowed_origins is not None:
        changes["allowed_origins"] = _narrowed_origins(request, decision.allowed_origins)
    return AuthorizedRequest(request.with_values(changes) if changes else request, limits)


def _narrowed_origins(request: TokenRequest, origins: Sequence[str]) -> list[str]:
    granted = request.allowed_origins
    is_wider = granted is not None and not all(any(covers(entry, origin) for entry in granted) for origin in origins)
    strict = request.strict_origin_enforcement
    if is_wider or combined_field_errors(None, None, None, None, strict, list(origins)):
        raise PolicyHookUnavailable("the policy hook's decision has origins that this token cannot have")
    return list(origins)
