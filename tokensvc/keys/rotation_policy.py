"""Checks of the rotation policy: whether keys can be rotated with its delays and limits.

Invariants
- `max_staleness_seconds`, the longest that any worker may serve from an outdated snapshot, is derived, never set. Every
  delay that must outlast it is derived from it.
- An impossible policy is rejected with the calculation, which shows the operator which value to change.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import InvalidRotationPolicy

MAX_KEY_PAIRS = 3
"""Maximum number of playback key pairs per account and region; not adjustable (IVS user guide, "Service Quotas")."""

MIN_SLOTS = 2
"""A rotation needs one slot for the active key and one for the next."""

PROPAGATION_SECONDS = 2.0
"""The time within which every worker that reaches the store learns of a change."""


def max_staleness_seconds(lease_seconds: float, store_timeout_seconds: float) -> float:
    """How long a worker with this snapshot lease and store timeout may serve from an outdated snapshot.

    The deployment's value is the maximum over all workers.
    """
    return lease_seconds + store_timeout_seconds + CLOCK_SKEW_SECONDS


def check_policy(policy: RotationPolicy, max_ttl_seconds: int) -> None:
    """Raises InvalidRotationPolicy, with the calculation, if keys cannot be rotated with this policy."""
    violations = "; ".join(_violations(policy, max_ttl_seconds))
    if violations:
        raise InvalidRotationPolicy(violations)


def check_slots(region: str, foreign: int) -> None:
    """Raises InvalidRotationPolicy, with the calculation, if foreign key pairs leave too few slots for a rotation."""
    left = MAX_KEY_PAIRS - foreign
    if left < MIN_SLOTS:
        raise InvalidRotationPolicy(
            f"{foreign} of the {MAX_KEY_PAIRS} key pair slots in {region} are used by other applications, which leaves "
            f"{left}; a rotation needs {MIN_SLOTS}, for the active key and the next one. Delete a key pair of another "
            "application, or use another AWS account"
        )


def _violations(policy: RotationPolicy, max_ttl_seconds: int) -> Iterator[str]:
    if 0 < policy.propagation_seconds < PROPAGATION_SECONDS:
        yield (
            f"the propagation delay of {policy.propagation_seconds:g} s is shorter than the {PROPAGATION_SECONDS:g} s "
            "within which workers learn of a new key"
        )
    if policy.max_age_seconds is None:
        return
    drain = policy.drain_seconds(max_ttl_seconds)
    least = policy.propagation_seconds + drain
    if policy.max_age_seconds < least:
        yield (
            f"the maximum age of {policy.max_age_seconds:g} s is shorter than propagation delay + drain = "
            f"{policy.propagation_seconds:g} + {drain:g} = {least:g} s, where drain = maximum staleness "
            f"{policy.max_staleness_seconds:g} + longest token lifetime {max_ttl_seconds} + clock skew "
            f"{CLOCK_SKEW_SECONDS}; new keys would be needed faster than old ones drain"
        )
