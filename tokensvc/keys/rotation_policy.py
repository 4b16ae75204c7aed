"""The policy of rotation: how long things take to be safe, and whether that can work out.

Rules of the file
- R, the reach, is how long any worker may act on old news. It is derived, never set; everything else that must outlast
  old news is derived from it.
- A policy that cannot hold is refused with the arithmetic, so that whoever set it sees which figure to move.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import InvalidRotationPolicy

KEY_PAIRS_MAX = 3
"""Playback key pairs that IVS holds per account and region (IVS user guide, "Service Quotas"); not adjustable."""

SLOTS_MIN = 2
"""A rotation needs room for the key that signs and for the next one."""

PROPAGATION_SECONDS = 2.0
"""Within this time every worker that reaches the store has heard of a change."""


def max_staleness_seconds(lease_seconds: float, store_timeout_seconds: float) -> float:
    """How long a worker of this lease and this store timeout can act on old news; R is the longest of all workers'."""
    return lease_seconds + store_timeout_seconds + CLOCK_SKEW_SECONDS


def check_policy(policy: RotationPolicy, max_ttl_seconds: int) -> None:
    """Raise InvalidRotationPolicy, with the arithmetic, unless keys can be rotated by this policy."""
    faults = "; ".join(_faults(policy, max_ttl_seconds))
    if faults:
        raise InvalidRotationPolicy(faults)


def check_slots(region: str, foreign: int) -> None:
    """Raise InvalidRotationPolicy, with the arithmetic, unless others leave enough slots of a region to rotate in."""
    left = KEY_PAIRS_MAX - foreign
    if left < SLOTS_MIN:
        raise InvalidRotationPolicy(
            f"in {region} others hold {foreign} of the {KEY_PAIRS_MAX} key pairs that IVS takes, which leaves {left}, "
            f"and a rotation needs {SLOTS_MIN}: the key that signs and the next one. Delete one of theirs, or use "
            "another account"
        )


def _faults(policy: RotationPolicy, max_ttl_seconds: int) -> Iterator[str]:
    if 0 < policy.propagation_seconds < PROPAGATION_SECONDS:
        yield (
            f"the propagation delay of {policy.propagation_seconds:g} s is shorter than the {PROPAGATION_SECONDS:g} s in "
            "which workers learn of a new key"
        )
    if policy.max_age_seconds is None:
        return
    drain = policy.drain_seconds(max_ttl_seconds)
    least = policy.propagation_seconds + drain
    if policy.max_age_seconds < least:
        yield (
            f"the maximum age of {policy.max_age_seconds:g} s is shorter than propagation delay + drain = "
            f"{policy.propagation_seconds:g} + {drain:g} = {least:g} s, where drain = maximum staleness "
            f"{policy.max_staleness_seconds:g} + longest token life {max_ttl_seconds} + clock skew {CLOCK_SKEW_SECONDS}; "
            "keys would be made faster than they drain"
        )
