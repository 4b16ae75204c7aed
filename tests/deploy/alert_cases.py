"""For each alert, series with which it fires and series with which it does not.

Invariants
- Both differ in what the alert is about and in nothing else, so that a threshold that is off by much is noticed.
- A sample is a minute. `A+BxN` begins at A and grows by B, N times; `AxN` stays at A (promtool's notation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Series = dict[str, str]


class AlertCase(NamedTuple):
    """When one alert fires, and when not."""

    firing: Series
    quiet: Series
    minutes: int
    """When the alert is judged."""
    labels: Mapping[str, str] = {}
    """What the alert names, besides its severity."""


_TOKENS = 'tokensvc_http_request_duration_seconds_count{route="/v1/tokens",status="%s",instance="a"}'
_OUTCOME = 'tokensvc_token_requests_total{caller="shop",outcome="%s",instance="a"}'
_IVS = 'tokensvc_ivs_requests_total{operation="ImportPlaybackKeyPair",code="%s",instance="a"}'
_ISSUE_BUCKET = 'tokensvc_token_issue_duration_seconds_bucket{le="%s",instance="a"}'
_CERTIFICATE = 'probe_ssl_earliest_cert_expiry{job="tokensvc-readyz",instance="a"}'


def _increasing(series: str, a_minute: float, minutes: int = 60) -> Series:
    return {series: f"0+{a_minute}x{minutes}"}


def _constant(series: str, value: float, minutes: int = 60) -> Series:
    return {series: f"{value}x{minutes}"}


def _gauge(
    series: str, firing: float, quiet: float, minutes: int, labels: Mapping[str, str] | None = None
) -> AlertCase:
    return AlertCase(
        _constant(series, firing, minutes + 5), _constant(series, quiet, minutes + 5), minutes, labels or {}
    )


def _counter(
    series: str, firing: float, quiet: float, minutes: int, labels: Mapping[str, str] | None = None
) -> AlertCase:
    """By increase a minute."""
    return AlertCase(
        _increasing(series, firing, minutes + 5), _increasing(series, quiet, minutes + 5), minutes, labels or {}
    )


def _ratio(series: str, good: str, bad: str, firing: float, quiet: float, minutes: int, **labels: str) -> AlertCase:
    """By the bad ones among a thousand a minute."""

    def with_bad(count: float) -> Series:
        length = minutes + 5
        return _increasing(series % good, 1000 - count, length) | _increasing(series % bad, count, length)

    return AlertCase(with_bad(firing), with_bad(quiet), minutes, labels)


A, REGION = {"instance": "a"}, {"region": "us-east-1"}

CASES: Mapping[str, AlertCase] = {
    "TokensvcAllTargetsDown": AlertCase(
        {'up{job="tokensvc",instance="a"}': "0x10", 'up{job="tokensvc",instance="b"}': "0x10"},
        {'up{job="tokensvc",instance="a"}': "0x10", 'up{job="tokensvc",instance="b"}': "1x10"},
        3,
    ),
    "TokensvcTargetDown": AlertCase(
        {'up{job="tokensvc",instance="a"}': "0x10"},
        {'up{job="tokensvc",instance="a"}': "0 0 1x10"},
        4,
        {"job": "tokensvc", **A},
    ),
    "TokensvcNotReady": _gauge(
        'probe_success{job="tokensvc-readyz",instance="a"}', 0, 1, 4, {"job": "tokensvc-readyz", **A}
    ),
    "TokensvcNoneReady": AlertCase(
        {'probe_success{job="tokensvc-readyz",instance="a"}': "0x10"},
        {
            'probe_success{job="tokensvc-readyz",instance="a"}': "0x10",
            'probe_success{job="tokensvc-readyz",instance="b"}': "1x10",
        },
        3,
    ),
    "TokensvcCertificateExpires": _gauge(_CERTIFICATE, 13 * 86400, 15 * 86400, 70, A),
    "TokensvcCertificateExpiresNow": _gauge(_CERTIFICATE, 1.9 * 86400, 2.5 * 86400, 20, A),
    "TokensvcErrorBudgetFastBurn": _ratio(_TOKENS, "201", "503", 20, 10, 70),
    "TokensvcErrorBudgetSlowBurn": _ratio(_TOKENS, "201", "500", 4, 2, 1500),
    "TokensvcTokenRequestsUnavailable": _ratio(_OUTCOME, "issued", "snapshot_stale", 20, 5, 10),
    "TokensvcTokenRequestsRefused": _ratio(_OUTCOME, "issued", "unauthenticated", 300, 100, 25),
    "TokensvcTokensSlow": AlertCase(
        _increasing(_ISSUE_BUCKET % "0.0025", 900)
        | _increasing(_ISSUE_BUCKET % "0.005", 1000)
        | _increasing(_ISSUE_BUCKET % "+Inf", 1000),
        _increasing(_ISSUE_BUCKET % "0.0025", 1000)
        | _increasing(_ISSUE_BUCKET % "0.005", 1000)
        | _increasing(_ISSUE_BUCKET % "+Inf", 1000),
        40,
    ),
    "TokensvcNoActiveKey": _gauge('tokensvc_signing_key_available{region="us-east-1",instance="a"}', 0, 1, 5, REGION),
    "TokensvcKeyTooOld": _gauge(
        'tokensvc_active_key_age_seconds{region="us-east-1",instance="a"}', 32 * 86400, 30 * 86400, 70, REGION
    ),
    "TokensvcRotationOverdue": _gauge(
        'tokensvc_key_rotation_overdue_seconds{region="us-east-1",instance="a"}', 90_000, 3600, 20, REGION
    ),
    "TokensvcDrainOverdue": _gauge(
        'tokensvc_key_drain_overdue_seconds{region="us-east-1",instance="a"}', 4000, 600, 20, REGION
    ),
    "TokensvcKeySlotsFull": _gauge('tokensvc_key_slots_used{region="us-east-1",instance="a"}', 3, 2, 200, REGION),
    "TokensvcNoStandbyKey": _gauge('tokensvc_key_slots_used{region="us-east-1",instance="a"}', 1, 2, 40, REGION),
    "TokensvcRotationProblems": _gauge('tokensvc_rotation_problems{region="us-east-1",instance="a"}', 1, 0, 15, REGION),
    "TokensvcNoRotationLeader": AlertCase(
        {'tokensvc_rotation_leader{instance="a"}': "0x20", 'tokensvc_rotation_leader{instance="b"}': "0x20"},
        {'tokensvc_rotation_leader{instance="a"}': "0x20", 'tokensvc_rotation_leader{instance="b"}': "1x20"},
        10,
    ),
    "TokensvcStoreUnreachable": _gauge('tokensvc_snapshot_age_seconds{instance="a"}', 70, 2, 5, A),
    "TokensvcClockSkew": _gauge('tokensvc_clock_skew_seconds{instance="a"}', -3, -1, 10, A),
    "TokensvcWorkersOutOfSync": _gauge('tokensvc_workers_stale{instance="a"}', 1, 0, 5),
    "TokensvcWorkersMissing": _gauge('tokensvc_workers{instance="a"}', 3, 4, 5),
    "TokensvcWorkersCrash": _gauge('tokensvc_workers{instance="a"}', 5, 4, 10),
    "TokensvcBackgroundTaskFails": _counter(
        'tokensvc_background_failures_total{task="refresh",instance="a"}', 2, 0, 20, {"task": "refresh", **A}
    ),
    "TokensvcPruneFails": AlertCase(
        {'tokensvc_background_failures_total{task="prune",instance="a"}': "0x60 1x60 2x90"},
        {'tokensvc_background_failures_total{task="prune",instance="a"}': "0x60 1x150"},
        180,
        A,
    ),
    "TokensvcRevocationBacklog": _gauge('tokensvc_revocation_queue_depth{instance="a"}', 13_000, 11_000, 10),
    "TokensvcRevocationsLate": _gauge('tokensvc_revocation_queue_oldest_age_seconds{instance="a"}', 301, 200, 5),
    "TokensvcRevocationErrors": _counter(
        'tokensvc_revocation_errors_total{code="ThrottlingException",instance="a"}',
        1,
        0,
        30,
        {"code": "ThrottlingException"},
    ),
    "TokensvcRevocationsFailed": _counter('tokensvc_revocations_total{outcome="failed",instance="a"}', 1, 0, 20),
    "TokensvcRevocationsAllFail": AlertCase(
        _increasing('tokensvc_revocations_total{outcome="failed",instance="a"}', 1)
        | _constant('tokensvc_revocations_total{outcome="sent",instance="a"}', 7),
        _increasing('tokensvc_revocations_total{outcome="failed",instance="a"}', 1)
        | _increasing('tokensvc_revocations_total{outcome="sent",instance="a"}', 1),
        40,
    ),
    "TokensvcIvsRequestsFail": _ratio(
        _IVS, "ok", "ThrottlingException", 200, 50, 40, operation="ImportPlaybackKeyPair"
    ),
    "TokensvcSignerSwitchedOff": _counter(
        'tokensvc_signer_fallbacks_total{reason="not_verified",instance="a"}', 1, 0, 20, A
    ),
    "TokensvcSignerLanesFail": _counter(
        'tokensvc_signer_fallbacks_total{reason="lane_failed",instance="a"}', 120, 30, 40, A
    ),
    "TokensvcSignatureInvalid": _counter(
        'tokensvc_signer_verifications_total{outcome="failed",instance="a"}', 1, 0, 20, A
    ),
    "TokensvcSignaturesUnverified": AlertCase(
        _increasing('tokensvc_signer_lanes_sum{instance="a"}', 1200)
        | _constant('tokensvc_signer_verifications_total{outcome="passed",instance="a"}', 5),
        _increasing('tokensvc_signer_lanes_sum{instance="a"}', 1200)
        | _increasing('tokensvc_signer_verifications_total{outcome="passed",instance="a"}', 1),
        40,
        A,
    ),
    "TokensvcLimiterFails": _counter(
        'tokensvc_limiter_failures_total{reason="timeout",instance="a"}', 120, 30, 20, {"reason": "timeout", **A}
    ),
    "TokensvcPolicyHookFails": _counter(
        'tokensvc_policy_hook_failures_total{reason="timeout",instance="a"}', 12, 1, 10, {"reason": "timeout", **A}
    ),
    "TokensvcIssuerKeysOld": AlertCase(
        _constant('tokensvc_issuer_keys_age_seconds{issuer="login.example.com",instance="a"}', 15_000)
        | _increasing('tokensvc_issuer_key_fetches_total{issuer="login.example.com",outcome="failed",instance="a"}', 1),
        _constant('tokensvc_issuer_keys_age_seconds{issuer="login.example.com",instance="a"}', 15_000)
        | _constant('tokensvc_issuer_key_fetches_total{issuer="login.example.com",outcome="failed",instance="a"}', 3),
        20,
        {"issuer": "login.example.com"},
    ),
    "TokensvcAuditLate": _gauge('tokensvc_audit_lag_seconds{instance="a"}', 90, 1, 10, A),
    "TokensvcAuditRecordsDropped": _counter('tokensvc_audit_events_dropped_total{instance="a"}', 10, 0, 20, A),
    "TokensvcLogLinesDropped": _counter(
        'tokensvc_log_lines_dropped_total{reason="queue_full",instance="a"}',
        10,
        0,
        20,
        {"reason": "queue_full", **A},
    ),
}
