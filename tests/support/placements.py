"""Key placements in each state, with times relative to now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tokensvc.aws.arn import AccountRegion
from tokensvc.deployment.record import RotationPolicy
from tokensvc.keys.lifecycle import KeyPlacement, KeyState

NOW = datetime(2027, 1, 15, 8, 0, 0, tzinfo=UTC)
HERE = AccountRegion("123456789012", "us-east-1")
PROPAGATION_SECONDS = 30.0
POLICY = RotationPolicy(propagation_seconds=PROPAGATION_SECONDS, max_staleness_seconds=910, standby=False)
LONGEST_TTL_SECONDS = 3600
DRAIN_SECONDS = POLICY.drain_seconds(LONGEST_TTL_SECONDS)
LONG_AGO = 10_000_000.0


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def prepared(key_id: str, since: float = LONG_AGO, **fields: Any) -> KeyPlacement:
    """Imported so many seconds ago."""
    return _pair(key_id, KeyState.PREPARED, imported_at=ago(since), **fields)


def active(key_id: str, since: float = LONG_AGO, **fields: Any) -> KeyPlacement:
    """Active for so many seconds."""
    return _pair(key_id, KeyState.ACTIVE, activated_at=ago(since), longest_ttl_seconds=LONGEST_TTL_SECONDS, **fields)


def retiring(key_id: str, since: float, **fields: Any) -> KeyPlacement:
    """Draining for so many seconds."""
    signed = {"activated_at": ago(since + 100), "longest_ttl_seconds": LONGEST_TTL_SECONDS} | fields
    return _pair(key_id, KeyState.RETIRING, retiring_at=ago(since), **signed)


def retired(key_id: str, **fields: Any) -> KeyPlacement:
    return _pair(key_id, KeyState.RETIRED, **{"retired_at": NOW} | fields)


def compromised(key_id: str, **fields: Any) -> KeyPlacement:
    return _pair(key_id, KeyState.COMPROMISED, compromised_at=NOW, **fields)


def _pair(key_id: str, state: KeyState, **fields: Any) -> KeyPlacement:
    arn = f"arn:aws:ivs:{HERE.region}:{HERE.account}:playback-key/{key_id}"
    return KeyPlacement(key_id, HERE, state, arn, **{"imported_at": ago(LONG_AGO)} | fields)
