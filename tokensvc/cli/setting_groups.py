"""The settings by subject, for `tokensvc settings --example` and the reference.

Invariants
- Every setting is in one group, which a test checks.
"""

from __future__ import annotations

from typing import NamedTuple

from tokensvc.cli.policy_values import POLICY_SETTINGS


class Group(NamedTuple):
    """Settings under one heading."""

    heading: str
    names: tuple[str, ...]


GROUPS = (
    Group(
        "Store and keys",
        (
            "control_plane",
            "database_url",
            "store_timeout_seconds",
            "vault",
            "passphrase",
            "kms_key_arn",
            "previous_passphrase",
            "previous_kms_key_arn",
        ),
    ),
    Group(
        "Serving",
        (
            "host",
            "port",
            "admin_port",
            "admin_host",
            "admin_routes",
            "workers",
            "trusted_proxies",
            "cors_origins",
            "max_in_flight",
            "max_connections",
            "shutdown_delay_seconds",
            "snapshot_lease_seconds",
            "signer",
        ),
    ),
    Group(
        "Rate limits",
        (
            "limiter_url",
            "limiter_fails",
        ),
    ),
    Group(
        "Policy hook",
        (
            "policy_hook_url",
            "policy_hook_secret",
        ),
    ),
    Group("Authorizing a proxy's requests", ("authorize", "authorize_folders")),
    Group(
        "Amazon IVS",
        (
            "regions",
            "channel_lookup_timeout_seconds",
            "channel_calls_per_second",
            "revocation_rate_fraction",
        ),
    ),
    Group("Limits of the deployment", POLICY_SETTINGS),
    Group("Background tasks", ("background_tasks",)),
    Group(
        "Logs",
        (
            "access_log",
            "log_format",
            "log_level",
        ),
    ),
    Group("Traces", ("tracing", "trace_ratio")),
    Group(
        "Audit",
        (
            "audit_log",
            "audit_retention_days",
        ),
    ),
)
