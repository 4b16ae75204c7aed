"""Deployment-wide settings: the value in the environment beside the value in the store.

Invariants
- The stored value applies. Only `tokensvc db upgrade` copies the environment's value into the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tokensvc.deployment.record import Deployment
from tokensvc.settings import Settings

DAY_SECONDS = 86_400


POLICY_SETTINGS = ("max_ttl_seconds", "key_propagation_seconds", "key_max_age_days", "key_standby")


class PolicyValue(NamedTuple):
    """One deployment-wide setting, in its own unit."""

    name: str
    set_here: float | None
    """The environment's value; None if it is not set."""
    stored: float


def policy_values(settings: Settings, deployment: Deployment) -> Iterator[PolicyValue]:
    """All deployment-wide settings, in the order of `POLICY_SETTINGS`."""
    max_age_days = (deployment.key_max_age_seconds or 0) / DAY_SECONDS
    yield PolicyValue("max_ttl_seconds", settings.max_ttl_seconds, deployment.max_ttl_seconds)
    yield PolicyValue("key_propagation_seconds", settings.key_propagation_seconds, deployment.key_propagation_seconds)
    yield PolicyValue("key_max_age_days", settings.key_max_age_days, max_age_days)
    yield PolicyValue("key_standby", settings.key_standby, deployment.key_standby)
