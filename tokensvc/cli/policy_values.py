"""The settings that belong to the whole deployment: what the environment says, beside what the store holds.

Invariant
- The store's value is the one that counts. The environment's is written into it by `tokensvc db upgrade` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tokensvc.deployment.record import Deployment
from tokensvc.settings import Settings

DAY_SECONDS = 86_400


NAMES = ("max_ttl_seconds", "key_propagation_seconds", "key_max_age_days", "key_standby")


class PolicyValue(NamedTuple):
    """One of them, in the setting's own unit."""

    name: str
    set_here: float | None
    """None where the environment says nothing."""
    stored: float


def policy_values(settings: Settings, deployment: Deployment) -> Iterator[PolicyValue]:
    """All of them."""
    max_age_days = (deployment.key_max_age_seconds or 0) / DAY_SECONDS
    yield PolicyValue("max_ttl_seconds", settings.max_ttl_seconds, deployment.max_ttl_seconds)
    yield PolicyValue("key_propagation_seconds", settings.key_propagation_seconds, deployment.key_propagation_seconds)
    yield PolicyValue("key_max_age_days", settings.key_max_age_days, max_age_days)
    yield PolicyValue("key_standby", settings.key_standby, deployment.key_standby)
