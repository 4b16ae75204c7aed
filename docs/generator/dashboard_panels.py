"""What the Grafana dashboards show.

Invariants
- A panel has a title that says what it shows, a unit, and a handful of series: rates are sums over workers.
- Queries name the job and the instances by the dashboard's variables, and no other variable.
"""

from __future__ import annotations

from docs.generator.dashboard_model import Dashboard, Panel, Query, Row

_OURS = 'job=~"$job",instance=~"$instance"'
_TOKENS = ',route=~"/v1/tokens|/v1/tokens/batch"'
_ISSUED, _NOT_ISSUED, _SUCCEEDED = ',outcome="issued"', ',outcome!="issued"', _TOKENS + ',status=~"200|201"'
_HTTP = "tokensvc_http_request_duration_seconds"
_REQUESTS = "tokensvc_token_requests_total"
_STORE = "tokensvc_store_transaction_duration_seconds"


def _rate(metric: str, by: str = "", more: str = "", window: str = "$__rate_interval") -> str:
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{{{_OURS}{more}}}[{window}]))"


def _gauge(function: str, metric: str, by: str = "") -> str:
    return f"{function}{f' by ({by}) ' if by else ''}({metric}{{{_OURS}}})"


def _quantile(quantile: float, metric: str, more: str = "", by: str = "") -> str:
    return f"histogram_quantile({quantile}, {_rate(metric + '_bucket', f'le, {by}' if by else 'le', more)})"


def _graph(title: str, unit: str, expression: str, legend: str, description: str = "") -> Panel:
    return Panel(title, unit, (Query(expression, legend),), description)


def _latency(title: str, metric: str, more: str = "", description: str = "") -> Panel:
    queries = [Query(_quantile(quantile, metric, more), f"p{quantile * 100:g}") for quantile in (0.5, 0.99, 0.999)]
    return Panel(title, "s", queries, description)


def _stat(title: str, unit: str, expression: str, legend: str = "", description: str = "", width: int = 4) -> Panel:
    return Panel(title, unit, (Query(expression, legend),), description, "stat", width)


_FAILED = _rate(f"{_HTTP}_count", "", _TOKENS + ',status=~"500|503"', "1h")
_LANES = "tokensvc_signer_lanes"

SERVICE = Dashboard(
    "tokensvc-service",
    "tokensvc: service",
    "What callers notice: tokens, errors, latency; and the workers behind it.",
    (
        Row(
            "At a glance",
            (
                _stat("Tokens per second", "reqps", _rate(_REQUESTS, "", _ISSUED)),
                _stat(
                    "Availability, 1 hour",
                    "percentunit",
                    f"1 - ({_FAILED} or vector(0)) / {_rate(f'{_HTTP}_count', '', _TOKENS, '1h')}",
                    description="Requests for tokens that got neither 500 nor 503",
                ),
                _stat("p99 of requests for tokens", "s", _quantile(0.99, _HTTP, _SUCCEEDED)),
                _stat("Workers", "none", _gauge("max", "tokensvc_workers"), "", "With a recent heartbeat"),
                _stat("Workers out of sync", "none", _gauge("max", "tokensvc_workers_stale")),
                _stat("Revocations waiting", "none", _gauge("max", "tokensvc_revocation_queue_depth")),
            ),
        ),
        Row(
            "Tokens",
            (
                _graph("Tokens by caller", "reqps", f"topk(10, {_rate(_REQUESTS, 'caller', _ISSUED)})", "{{caller}}"),
                _graph(
                    "Refused and failed, by outcome",
                    "reqps",
                    f"topk(10, {_rate(_REQUESTS, 'outcome', _NOT_ISSUED)})",
                    "{{outcome}}",
                ),
                _graph("Rejected by a rate limit", "reqps", _rate("tokensvc_rate_limited_total", "limit"), "{{limit}}"),
                _latency(
                    "Time to issue a token",
                    "tokensvc_token_issue_duration_seconds",
                    description="Claims, checks and signature, without HTTP",
                ),
                _graph(
                    "Signatures per call of the multi-buffer signer",
                    "none",
                    f"{_rate(f'{_LANES}_sum')} / {_rate(f'{_LANES}_count')}",
                    "signatures",
                    "Eight is full",
                ),
                _graph(
                    "Signatures by the fallback",
                    "ops",
                    _rate("tokensvc_signer_fallbacks_total", "reason"),
                    "{{reason}}",
                ),
            ),
        ),
        Row(
            "HTTP",
            (
                _graph("Requests by route", "reqps", _rate(f"{_HTTP}_count", "route"), "{{route}}"),
                _graph("Requests by status", "reqps", _rate(f"{_HTTP}_count", "status"), "{{status}}"),
                _latency("Latency of requests for tokens", _HTTP, _SUCCEEDED),
                _graph(
                    "Open connections", "none", _gauge("sum", "tokensvc_http_connections", "instance"), "{{instance}}"
                ),
                _latency(
                    "Event loop lag",
                    "tokensvc_event_loop_lag_seconds",
                    description="How late a timer ran: every request of the worker waits as long",
                ),
                _graph("Log lines dropped", "cps", _rate("tokensvc_log_lines_dropped_total", "reason"), "{{reason}}"),
            ),
        ),
        Row(
            "Workers",
            (
                _graph(
                    "CPU",
                    "percentunit",
                    _rate("process_cpu_seconds_total", "instance, worker"),
                    "{{instance}} {{worker}}",
                    "Of one core",
                ),
                _graph(
                    "Resident memory",
                    "bytes",
                    _gauge("sum", "process_resident_memory_bytes", "instance, worker"),
                    "{{instance}} {{worker}}",
                ),
                _graph(
                    "Open file descriptors",
                    "none",
                    _gauge("sum", "process_open_fds", "instance, worker"),
                    "{{instance}} {{worker}}",
                ),
                _graph(
                    "Age of the oldest snapshot",
                    "s",
                    _gauge("max", "tokensvc_snapshot_age_seconds", "instance"),
                    "{{instance}}",
                    "Workers stop signing at TOKENSVC_SNAPSHOT_LEASE_SECONDS",
                ),
                _graph(
                    "Clock's distance from the store's",
                    "s",
                    f"max by (instance) (abs(tokensvc_clock_skew_seconds{{{_OURS}}}))",
                    "{{instance}}",
                    "Workers stop signing at 5 seconds",
                ),
                _graph(
                    "Failed background tasks", "cps", _rate("tokensvc_background_failures_total", "task"), "{{task}}"
                ),
                _graph(
                    "Versions",
                    "none",
                    _gauge("count", "tokensvc_build_info", "version, commit, signer"),
                    "{{version}} {{commit}} {{signer}}",
                ),
            ),
        ),
    ),
)

OPERATIONS = Dashboard(
    "tokensvc-operations",
    "tokensvc: keys, revocations, store",
    "What operators look after: keys and their rotation, revocations, Amazon IVS, the store, audit records.",
    (
        Row(
            "Keys",
            (
                _stat(
                    "A key to sign with",
                    "none",
                    _gauge("min", "tokensvc_signing_key_available", "region"),
                    "{{region}}",
                    "1: every worker has one",
                    6,
                ),
                _stat(
                    "Key slots in use",
                    "none",
                    _gauge("max", "tokensvc_key_slots_used", "region"),
                    "{{region}}",
                    "Of three per account and region",
                    6,
                ),
                _stat(
                    "Rotation leaders",
                    "none",
                    _gauge("sum", "tokensvc_rotation_leader"),
                    "leaders",
                    "1 in a healthy deployment",
                    6,
                ),
                _stat(
                    "Rotation problems",
                    "none",
                    _gauge("max", "tokensvc_rotation_problems", "region"),
                    "{{region}}",
                    "",
                    6,
                ),
                *(
                    _graph(title, "s", _gauge("max", f"tokensvc_{metric}_seconds", "region"), "{{region}}")
                    for title, metric in (
                        ("Age of the active key", "active_key_age"),
                        ("Rotation overdue", "key_rotation_overdue"),
                        ("Drain overdue", "key_drain_overdue"),
                    )
                ),
            ),
        ),
        Row(
            "Revocations",
            (
                _graph("Waiting for IVS", "none", _gauge("max", "tokensvc_revocation_queue_depth"), "revocations"),
                _graph("Oldest one waiting", "s", _gauge("max", "tokensvc_revocation_queue_oldest_age_seconds"), "age"),
                _graph("Dispatched, by outcome", "cps", _rate("tokensvc_revocations_total", "outcome"), "{{outcome}}"),
                _graph("Not accepted, by error", "cps", _rate("tokensvc_revocation_errors_total", "code"), "{{code}}"),
            ),
        ),
        Row(
            "Amazon IVS",
            (
                _graph("Requests", "reqps", _rate("tokensvc_ivs_requests_total", "operation"), "{{operation}}"),
                _graph(
                    "Requests that failed",
                    "reqps",
                    _rate("tokensvc_ivs_requests_total", "operation, code", ',code!="ok"'),
                    "{{operation}} {{code}}",
                ),
                _graph(
                    "p99 of the requests",
                    "s",
                    _quantile(0.99, "tokensvc_ivs_request_duration_seconds", "", "operation"),
                    "{{operation}}",
                ),
            ),
        ),
        Row(
            "Store",
            (
                _graph("Transactions", "ops", _rate(f"{_STORE}_count", "mode"), "{{mode}}"),
                _graph("p99 of the transactions", "s", _quantile(0.99, _STORE, "", "mode"), "{{mode}}"),
                _graph("Transactions that failed", "cps", _rate("tokensvc_store_errors_total", "code"), "{{code}}"),
                _graph(
                    "Connections in use",
                    "none",
                    _gauge("sum", "tokensvc_store_connections_in_use", "instance"),
                    "{{instance}}",
                ),
                _latency("Wait for a connection", "tokensvc_store_connection_wait_seconds"),
                _graph(
                    "Audit records waiting",
                    "none",
                    _gauge("max", "tokensvc_audit_queue_depth", "instance"),
                    "{{instance}}",
                ),
            ),
        ),
        Row(
            "What tokens may wait for",
            (
                _graph(
                    "Age of issuers' keys",
                    "s",
                    _gauge("max", "tokensvc_issuer_keys_age_seconds", "issuer"),
                    "{{issuer}}",
                    "Fetched when a login token arrives",
                ),
                *(
                    _graph(f"{title}, no decision", "cps", _rate(f"tokensvc_{metric}_total", "reason"), "{{reason}}")
                    for title, metric in (
                        ("Shared rate limiter", "limiter_failures"),
                        ("Policy hook", "policy_hook_failures"),
                    )
                ),
            ),
        ),
    ),
)
