"""The reference of the metrics, from `tokensvc/container/prometheus.py`.

Invariants
- Names, types, labels and help texts are those of the registry; label values that the code lists are found in it.
- A metric whose runbook exists, `docs/how-to/alerts/<name>.md`, links to it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from botocore.session import get_session
from prometheus_client.metrics import MetricWrapperBase

from docs.generator.markdown import code, table, unwrap
from docs.generator.sources import PACKAGE, files, tree
from tokensvc.container.metric_families import CALLERS_MAX, ISSUERS_MAX, MetricFamilies
from tokensvc.container.metrics_directory import PREFIX as METRICS_DIRECTORY
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.jose.signing.choice import SIGNERS
from tokensvc.settings import variable_name

ALERTS = Path(__file__).resolve().parents[1] / "how-to/alerts"
ERROR_CODE = "an [error code](error-codes.md)"
IVS_CODE = "IVS's error code, or the name of the transport's error, such as `ConnectTimeoutError`"
_SAMPLE = re.compile(r'^(tokensvc_\w+)\{(\w+)="(\w+)"\}', re.MULTILINE)
_TASK = {"make_task", "BackgroundTask"}


class MetricFamily(NamedTuple):
    """One metric, as Prometheus shows it."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]

    @property
    def alert(self) -> str:
        """The name of its runbook."""
        return self.name.removeprefix("tokensvc_").removesuffix("_total").replace("_", "-")


GROUPS: Mapping[str, tuple[str, ...]] = {
    "HTTP": (
        "tokensvc_http_request_duration_seconds",
        "tokensvc_http_connections",
        "tokensvc_event_loop_lag_seconds",
    ),
    "Token requests": (
        "tokensvc_token_requests_total",
        "tokensvc_token_issue_duration_seconds",
        "tokensvc_rate_limited_total",
    ),
    "Requests of proxies": ("tokensvc_playback_authorizations_total",),
    "Workers": (
        "tokensvc_build_info",
        "tokensvc_snapshot_age_seconds",
        "tokensvc_clock_skew_seconds",
        "tokensvc_workers",
        "tokensvc_workers_stale",
        "tokensvc_background_failures_total",
    ),
    "Processes": (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ),
    "Store": (
        "tokensvc_store_transaction_duration_seconds",
        "tokensvc_store_connection_wait_seconds",
        "tokensvc_store_connections_in_use",
        "tokensvc_store_connections_max",
        "tokensvc_store_errors_total",
    ),
    "Keys and rotation": (
        "tokensvc_signing_key_available",
        "tokensvc_active_key_age_seconds",
        "tokensvc_key_slots_used",
        "tokensvc_rotation_problems",
        "tokensvc_rotation_leader",
        "tokensvc_key_rotation_overdue_seconds",
        "tokensvc_key_drain_overdue_seconds",
    ),
    "Revocations": (
        "tokensvc_revocation_queue_depth",
        "tokensvc_revocation_queue_oldest_age_seconds",
        "tokensvc_revocations_total",
        "tokensvc_revocation_errors_total",
    ),
    "Amazon IVS": ("tokensvc_ivs_requests_total", "tokensvc_ivs_request_duration_seconds"),
    "Signer": (
        "tokensvc_signer_info",
        "tokensvc_signer_lanes",
        "tokensvc_signer_fallbacks_total",
        "tokensvc_signer_verifications_total",
    ),
    "Issuers of bearer tokens": ("tokensvc_issuer_keys_age_seconds", "tokensvc_issuer_key_fetches_total"),
    "Shared rate limiter": ("tokensvc_limiter_duration_seconds", "tokensvc_limiter_failures_total"),
    "Policy hook": ("tokensvc_policy_hook_duration_seconds", "tokensvc_policy_hook_failures_total"),
    "Audit": (
        "tokensvc_audit_queue_depth",
        "tokensvc_audit_lag_seconds",
        "tokensvc_audit_events_dropped_total",
        "tokensvc_audit_lines_lost_total",
    ),
    "Logs and traces": ("tokensvc_log_lines_dropped_total", "tokensvc_trace_spans_dropped_total"),
}
"""The metrics, by heading."""
UNITS: Mapping[str, str] = {
    "tokensvc_http_connections": "connections",
    "tokensvc_rate_limited_total": "requests; each item of a batch counts",
    "tokensvc_playback_authorizations_total": "requests; a decision that the proxy has cached is not one",
    "tokensvc_build_info": "1",
    "process_resident_memory_bytes": "bytes",
    "process_virtual_memory_bytes": "bytes",
    "process_open_fds": "file descriptors",
    "process_max_fds": "file descriptors",
    "tokensvc_store_connections_in_use": "connections",
    "tokensvc_store_connections_max": "connections",
    "tokensvc_store_errors_total": "transactions",
    "tokensvc_signing_key_available": "0 or 1",
    "tokensvc_issuer_key_fetches_total": "fetches",
    "tokensvc_audit_queue_depth": "records",
    "tokensvc_trace_spans_dropped_total": "spans",
    "tokensvc_token_requests_total": "tokens; each item of a batch counts",
    "tokensvc_snapshot_age_seconds": "seconds",
    "tokensvc_workers": "processes",
    "tokensvc_workers_stale": "processes",
    "tokensvc_background_failures_total": "runs",
    "tokensvc_key_slots_used": "key pairs, of three per account and region",
    "tokensvc_rotation_problems": "problems",
    "tokensvc_rotation_leader": "0 or 1",
    "tokensvc_revocation_queue_depth": "pairs of viewer and channel",
    "tokensvc_revocations_total": "pairs of viewer and channel",
    "tokensvc_revocation_errors_total": "attempts",
    "tokensvc_ivs_requests_total": "calls",
    "tokensvc_signer_info": "1",
    "tokensvc_signer_lanes": "signatures per call",
    "tokensvc_signer_fallbacks_total": "signatures",
    "tokensvc_signer_verifications_total": "signatures",
    "tokensvc_limiter_failures_total": "calls; one for each request, and one for each batch",
    "tokensvc_policy_hook_failures_total": "tokens; each item of a batch that was asked about counts",
    "tokensvc_audit_events_dropped_total": "records",
    "tokensvc_audit_lines_lost_total": "records",
    "tokensvc_log_lines_dropped_total": "lines",
}
NOTES: Mapping[str, str] = {
    "tokensvc_http_request_duration_seconds": "`_count` is the number of requests. What an overloaded worker rejects "
    "is recorded as 0 seconds: compute latencies from `status` 2xx. Not counted: requests whose client went away, and "
    "what is not valid HTTP. With tracing, OpenMetrics has exemplars.",
    "tokensvc_event_loop_lag_seconds": "Every request of the worker waits that long. uvloop's timers are up to 1 ms "
    "late by themselves.",
    "tokensvc_rate_limited_total": "`address`: too many failed authentications of one client address.",
    "tokensvc_build_info": "`signer` is empty for `tokensvc worker`, which signs nothing; `commit` is `unknown` where "
    "the package was not built from a repository.",
    "tokensvc_clock_skew_seconds": "Only the part that is certain: the duration of the query is deducted. From 5 "
    "seconds on, in either direction, workers sign nothing.",
    "process_cpu_seconds_total": "A worker signs on one core: at 1 second a second it is saturated. It continues "
    "when the worker is restarted.",
    "process_open_fds": "Most of them are client connections.",
    "tokensvc_store_connection_wait_seconds": "More than a millisecond: all connections are in use, or new ones are "
    "being opened.",
    "tokensvc_store_connections_in_use": "Sampled once a second.",
    "tokensvc_signing_key_available": "A worker that cannot decrypt the active key may sign with the retiring one for "
    "as long as that is safe: 1 until then.",
    "tokensvc_key_rotation_overdue_seconds": "0 while nothing is overdue, and without "
    "[`TOKENSVC_KEY_MAX_AGE_DAYS`](settings.md).",
    "tokensvc_key_drain_overdue_seconds": "0 while nothing is overdue. The pair takes one of three slots until it is "
    "deleted.",
    "tokensvc_issuer_keys_age_seconds": "A set is fetched anew when a token arrives and it is older than 10 minutes. "
    "After a day without a successful fetch it is not used any more.",
    "tokensvc_limiter_duration_seconds": "A batch waits once.",
    "tokensvc_policy_hook_duration_seconds": "A batch counts once, with the time of all its decisions.",
    "tokensvc_audit_lag_seconds": "0 while nothing waits. Records are written every second.",
    "tokensvc_trace_spans_dropped_total": "Nothing else is affected when spans are lost.",
    "tokensvc_token_requests_total": "A batch that is rejected as a whole counts once.",
    "tokensvc_token_issue_duration_seconds": "Claims, checks and signature, without HTTP. The tokens of a batch share "
    "the time of their slice equally.",
    "tokensvc_snapshot_age_seconds": "Close to 0 while the store is reachable. A worker stops signing at "
    "`TOKENSVC_SNAPSHOT_LEASE_SECONDS`: alert well below it.",
    "tokensvc_workers": "On all machines: those of `tokensvc serve`, and each `tokensvc worker`, with a heartbeat in "
    "the last 30 seconds.",
    "tokensvc_workers_stale": "Above 0 for a second or two after each change. Above 0 for longer: a process is cut "
    "off from the store.",
    "tokensvc_active_key_age_seconds": "Absent for a region without an active key.",
    "tokensvc_key_slots_used": "Key pairs of other applications take slots too and are not counted: `tokensvc keys "
    "list --ivs`.",
    "tokensvc_rotation_problems": "Set by the rotation leader. `/v1/status` describes them. Alert when it stays above "
    "0.",
    "tokensvc_rotation_leader": "The sum over all machines is 1.",
    "tokensvc_revocation_queue_depth": "The whole deployment's, in every process that dispatches: use `max`, not "
    "`sum`.",
    "tokensvc_revocation_queue_oldest_age_seconds": "The whole deployment's, as above. Alert on minutes.",
    "tokensvc_ivs_requests_total": "One for each attempt: tokensvc retries by itself, boto3 does not.",
    "tokensvc_signer_info": "The labels change only with a restart.",
    "tokensvc_signer_lanes": "Sum divided by count shows how full the calls are; eight is full.",
    "tokensvc_signer_fallbacks_total": "Alert on `not_verified` and `switched_off`.",
    "tokensvc_signer_verifications_total": "Alert on any `failed`.",
    "tokensvc_audit_events_dropped_total": "The store could not be reached for long. Administrative actions are never "
    "among them.",
    "tokensvc_audit_lines_lost_total": "`TOKENSVC_AUDIT_LOG` cannot be written; the store has these records.",
    "tokensvc_log_lines_dropped_total": "See [what happens when the log is not "
    "read](log-events.md#when-the-log-is-not-read).",
}
VALUES: Mapping[str, Mapping[str, str]] = {
    "tokensvc_rate_limited_total": {
        "caller": "the caller's rate",
        "viewer": "a viewer's rate",
        "channel": "a channel's rate",
        "address": "failed authentications",
    },
    "tokensvc_trace_spans_dropped_total": {
        "queue_full": "more spans than are exported in time",
        "export_failed": "the collector cannot be reached, or does not accept them",
    },
    "tokensvc_revocations_total": {
        "sent": "accepted by IVS",
        "failed": "permanently rejected by IVS",
        "deferred": "will be retried",
    },
    "tokensvc_signer_fallbacks_total": {
        "lane_failed": "the multi-buffer signer made no signature",
        "not_verified": "its signature was invalid",
        "switched_off": "it is not used any more in this process",
    },
    "tokensvc_signer_verifications_total": {
        "passed": "valid",
        "failed": "invalid, and replaced before it was returned",
    },
    "tokensvc_limiter_failures_total": {
        "timeout": "Redis took longer than 20 ms",
        "connection": "Redis cannot be reached",
        "invalid_response": "Redis responded with an error",
    },
    "tokensvc_policy_hook_failures_total": {
        "timeout": "no decision within 300 ms, waiting for a connection included",
        "connection": "the hook cannot be reached, or its certificate is not trusted",
        "invalid_response": "a status other than 200, or an invalid body",
    },
    "tokensvc_log_lines_dropped_total": {
        "queue_full": "the log's reader is too slow, or has stopped",
        "write_failed": "the disk is full, or the reader is gone",
        "render_failed": "a bug: an access log entry could not be formatted",
    },
}
"""What the values mean that the registry has from the start."""


def families() -> dict[str, MetricFamily]:
    """Every metric by its name."""
    found = {}
    for metric in vars(MetricFamilies()).values():
        if isinstance(metric, MetricWrapperBase):
            (described,) = metric.describe()
            name = f"{described.name}_total" if described.type == "counter" else described.name
            labels = tuple(metric._labelnames)  # noqa: SLF001 - the library has no other way to ask
            buckets = tuple(b for b in getattr(metric, "_upper_bounds", ()) if b != float("inf"))
            found[name] = MetricFamily(name, described.type, described.documentation, labels, buckets)
    return found


def page() -> str:
    """The page."""
    known = families()
    parts = [_GENERAL, _overview(known)]
    for heading, names in GROUPS.items():
        parts += [f"## {heading}", *(_metric(known[name]) for name in names)]
    return unwrap("\n\n".join([*parts, _SCRAPING]))


def _overview(known: Mapping[str, MetricFamily]) -> str:
    listed = [known[name] for names in GROUPS.values() for name in names]
    rows = [
        (f"[{code(f.name)}](#{f.name})", f.kind, ", ".join(map(code, f.labels)), f.help, _runbook(f)) for f in listed
    ]
    return f"## All metrics\n\n{table(('metric', 'type', 'labels', 'meaning', 'runbook'), rows)}"


def _runbook(family: MetricFamily) -> str:
    page = ALERTS / f"{family.alert}.md"
    return f"[{family.alert}](../how-to/alerts/{page.name})" if page.exists() else ""


def _metric(family: MetricFamily) -> str:
    seconds = "seconds" if family.name.endswith(("_seconds", "_seconds_total")) else ""
    facts = [("Type", family.kind), ("Unit", UNITS.get(family.name, seconds))]
    if family.buckets:
        facts.append(("Buckets", ", ".join(f"{bound:g}" for bound in family.buckets)))
    facts += [(f"Label {code(label)}", _values(family, label)) for label in family.labels]
    facts.append(("Runbook", _runbook(family)))
    lines = [f"- **{label}:** {text}" for label, text in facts if text]
    about = f"{family.help}. {NOTES.get(family.name, '')}".strip()
    return "\n\n".join([f"### {code(family.name)}", about, "\n".join(lines)])


def _values(family: MetricFamily, label: str) -> str:
    if family.name in VALUES:
        meanings = VALUES[family.name]
        return "; ".join(f"{code(value)}: {meanings[value]}" for value in initial_values(family.name))
    return LABELS.get(f"{family.name} {label}") or _computed_values().get(f"{family.name} {label}") or LABELS[label]


LABELS: Mapping[str, str] = {
    "route": "the template of the path, such as `/v1/keys/{id}`; `other` for any other path",
    "method": "`GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`; `other` for any other",
    "status": "the response's status",
    "caller": f"the caller's name; `-` for requests that were not authenticated; `other` for callers after the first "
    f"{CALLERS_MAX:,} of a worker",
    "outcome": f"`issued`, or {ERROR_CODE}",
    "mode": "`read`, `write`",
    "worker": f"the worker's number, from 0 to `{variable_name('workers')}` - 1",
    "region": "AWS regions in which this deployment has keys",
    "issuer": f"the host of the issuer's URL; `other` for issuers after the first {ISSUERS_MAX} of a worker",
    "version": "of tokensvc",
    "commit": "the commit that the package was built from",
    "python": "Python's version",
    "tokensvc_store_errors_total code": ERROR_CODE,
    "tokensvc_playback_authorizations_total outcome": "`started`; `continued`; or the rule that refused, such as "
    "`expiry`",
    "tokensvc_issuer_key_fetches_total outcome": "`fetched`, `failed`",
    "tokensvc_ivs_requests_total code": f"`ok`; {IVS_CODE}; `Unreadable` for a response that is not from IVS",
    "tokensvc_revocation_errors_total code": IVS_CODE,
    "tokensvc_signer_info fallback_reason": "a text; empty for the fastest signer",
}
"""What the values of a label are, by label, or by metric and label."""


@cache
def _computed_values() -> Mapping[str, str]:
    operations, signers = ", ".join(map(code, sorted(ivs_operations()))), ", ".join(map(code, SIGNERS))
    return {
        "tokensvc_background_failures_total task": ", ".join(map(code, sorted(task_names()))),
        "tokensvc_ivs_requests_total operation": operations,
        "tokensvc_ivs_request_duration_seconds operation": operations,
        "tokensvc_signer_info signer": signers,
        "tokensvc_build_info signer": signers,
    }


def initial_values(name: str) -> list[str]:
    """The label values that a metric has from the start, in their order."""
    samples = _SAMPLE.findall(PrometheusMetrics().render().decode())
    return [value for found, _label, value in samples if found == name]


@cache
def task_names() -> set[str]:
    """The names of all background tasks."""
    calls = [node for path in files() for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in _TASK]
    return {str(call.args[0].value) for call in named if call.args and isinstance(call.args[0], ast.Constant)}


@cache
def ivs_operations() -> set[str]:
    """The operations of IVS that the service calls."""
    folders = ("keys", "revocations", "tokens")
    paths = [path for folder in folders for path in files(PACKAGE / folder)]
    texts = {node.value for path in paths for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
    return {name for name in get_session().get_service_model("ivs").operation_names if name in texts}


_GENERAL = f"""# Metrics

`GET /metrics` serves the metrics of one machine's process in Prometheus's text format, or in OpenMetrics if the scraper
asks for it. No label contains a channel, a viewer or a key, and no client can add label values without limit: callers
and issuers are counted by name up to a bound, paths by their route.

| process | where |
| --- | --- |
| `tokensvc serve` | `{variable_name("port")}`; with `{variable_name("admin_port")}` only that port |
| `tokensvc worker` | `{variable_name("admin_port")}`; nowhere without it |
| `tokensvc demo` | the demo's port |

`/metrics` needs no API key: do not expose it, or set `{variable_name("admin_port")}`. A process exports every
metric from its start; those of a task that it does not run stay at 0 or have no series.
Which alerts to define on them, and what to do then: [alerts](../how-to/alerts/README.md)."""

_SCRAPING = f"""## Scraping

```yaml
scrape_configs:
  - job_name: tokensvc
    scrape_interval: 15s
    static_configs:
      - targets: ["10.0.0.11:8080", "10.0.0.12:8080"]
```

With an admin port, scrape that one. It listens on loopback, for an agent on the same machine or a sidecar in the same
pod; on an address of `{variable_name("admin_host")}` that is not loopback it serves metrics and probes alone, for a
scraper on another machine:

```yaml
scrape_configs:
  - job_name: tokensvc
    static_configs:
      - targets: ["127.0.0.1:9090"]
```

Counters that tasks and requests increase are updated a few times a second, and before every scrape.
Successful scrapes are not in the access log.

The age of a TLS certificate is not among the metrics: tokensvc serves plain HTTP, so the certificate is that of your
load balancer or [proxy](../how-to/behind-a-proxy.md); let it, or Prometheus's blackbox exporter, report its expiry.

### Several workers

With `{variable_name("workers")}` above 1, a scrape is answered by one of the workers, for all of them: counters and
histograms are summed, those of workers that have ended included, so they never fall while tokensvc runs. Gauges
leave out workers that have ended: numbers of connections and queued records are summed; for what every worker reads
from the store the latest is shown, for `tokensvc_signing_key_available` the smallest, for the others the largest. What
concerns a single process has the label `worker`, and the parent process is not among them. Exemplars are those of the
worker that answers. The workers share their values in a directory `{METRICS_DIRECTORY}…`
among the system's temporary files (`TMPDIR`); the last
process that uses it removes it. If all of them were killed, the next `tokensvc serve` of the same user removes it.
Do not set `PROMETHEUS_MULTIPROC_DIR`:
tokensvc sets it itself."""
