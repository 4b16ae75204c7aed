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
    "Token requests": ("token_requests_total", "token_issue_duration_seconds"),
    "Workers": ("snapshot_age_seconds", "workers", "workers_stale", "background_failures_total"),
    "Keys and rotation": ("active_key_age_seconds", "key_slots_used", "rotation_problems", "rotation_leader"),
    "Revocations": (
        "revocation_queue_depth",
        "revocation_queue_oldest_age_seconds",
        "revocations_total",
        "revocation_errors_total",
    ),
    "Amazon IVS": ("ivs_requests_total",),
    "Signer": ("signer_info", "signer_lanes", "signer_fallbacks_total", "signer_verifications_total"),
    "Logs": ("log_lines_dropped_total",),
}
"""The metrics without `tokensvc_`, by heading."""
UNITS: Mapping[str, str] = {
    "token_requests_total": "tokens; each item of a batch counts",
    "snapshot_age_seconds": "seconds",
    "workers": "processes",
    "workers_stale": "processes",
    "background_failures_total": "runs",
    "key_slots_used": "key pairs, of three per account and region",
    "rotation_problems": "problems",
    "rotation_leader": "0 or 1",
    "revocation_queue_depth": "pairs of viewer and channel",
    "revocations_total": "pairs of viewer and channel",
    "revocation_errors_total": "attempts",
    "ivs_requests_total": "calls",
    "signer_info": "1",
    "signer_lanes": "signatures per call",
    "signer_fallbacks_total": "signatures",
    "signer_verifications_total": "signatures",
    "log_lines_dropped_total": "lines",
}
NOTES: Mapping[str, str] = {
    "token_requests_total": "A batch that is rejected as a whole counts once.",
    "token_issue_duration_seconds": "Claims, checks and signature, without HTTP. The tokens of a batch share the time "
    "of their slice equally.",
    "snapshot_age_seconds": "Close to 0 while the store is reachable. A worker stops signing at "
    "`TOKENSVC_SNAPSHOT_LEASE_SECONDS`: alert well below it.",
    "workers": "On all machines: those of `tokensvc serve`, and each `tokensvc worker`, with a heartbeat in the last "
    "30 seconds.",
    "workers_stale": "Above 0 for a second or two after each change. Above 0 for longer: a process is cut off from the "
    "store.",
    "active_key_age_seconds": "Absent for a region without an active key.",
    "key_slots_used": "Key pairs of other applications take slots too and are not counted: `tokensvc keys list --ivs`.",
    "rotation_problems": "Set by the rotation leader. `/v1/status` describes them. Alert when it stays above 0.",
    "rotation_leader": "The sum over all machines is 1.",
    "revocation_queue_depth": "The whole deployment's, in every process that dispatches: use `max`, not `sum`.",
    "revocation_queue_oldest_age_seconds": "The whole deployment's, as above. Alert on minutes.",
    "ivs_requests_total": "One for each attempt: tokensvc retries by itself, boto3 does not.",
    "signer_info": "The labels change only with a restart.",
    "signer_lanes": "Sum divided by count shows how full the calls are; eight is full.",
    "signer_fallbacks_total": "Alert on `not_verified` and `switched_off`.",
    "signer_verifications_total": "Alert on any `failed`.",
    "log_lines_dropped_total": "See [what happens when the log is not read](log-events.md#when-the-log-is-not-read).",
}
VALUES: Mapping[str, Mapping[str, str]] = {
    "revocations_total": {
        "sent": "accepted by IVS",
        "failed": "permanently rejected by IVS",
        "deferred": "will be retried",
    },
    "signer_fallbacks_total": {
        "lane_failed": "the multi-buffer signer made no signature",
        "not_verified": "its signature was invalid",
        "switched_off": "it is not used any more in this process",
    },
    "signer_verifications_total": {"passed": "valid", "failed": "invalid, and replaced before it was returned"},
    "log_lines_dropped_total": {
        "queue_full": "the log's reader is too slow, or has stopped",
        "write_failed": "the disk is full, or the reader is gone",
        "render_failed": "a bug: an access log entry could not be formatted",
    },
}
"""What the values mean that the registry has from the start."""


def families() -> dict[str, MetricFamily]:
    """Every metric by its name."""
    found = {}
    for metric in vars(PrometheusMetrics()).values():
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
        parts += [f"## {heading}", *(_metric(known[f"tokensvc_{name}"]) for name in names)]
    return unwrap("\n\n".join([*parts, _SCRAPING]))


def _overview(known: Mapping[str, MetricFamily]) -> str:
    listed = [known[f"tokensvc_{name}"] for names in GROUPS.values() for name in names]
    rows = [
        (f"[{code(f.name)}](#{f.name})", f.kind, ", ".join(map(code, f.labels)), f.help, _runbook(f)) for f in listed
    ]
    return f"## All metrics\n\n{table(('metric', 'type', 'labels', 'meaning', 'runbook'), rows)}"


def _runbook(family: MetricFamily) -> str:
    page = ALERTS / f"{family.alert}.md"
    return f"[{family.alert}](../how-to/alerts/{page.name})" if page.exists() else ""


def _metric(family: MetricFamily) -> str:
    short = family.name.removeprefix("tokensvc_")
    facts = [("Type", family.kind), ("Unit", UNITS.get(short, "seconds" if short.endswith("_seconds") else ""))]
    if family.buckets:
        facts.append(("Buckets", ", ".join(f"{bound:g}" for bound in family.buckets)))
    facts += [(f"Label {code(label)}", _values(family, label)) for label in family.labels]
    facts.append(("Runbook", _runbook(family)))
    lines = [f"- **{label}:** {text}" for label, text in facts if text]
    about = f"{family.help}. {NOTES.get(short, '')}".strip()
    return "\n\n".join([f"### {code(family.name)}", about, "\n".join(lines)])


def _values(family: MetricFamily, label: str) -> str:
    short = family.name.removeprefix("tokensvc_")
    if short in VALUES:
        meanings = VALUES[short]
        return "; ".join(f"{code(value)}: {meanings[value]}" for value in initial_values(family.name))
    return {
        ("token_requests_total", "outcome"): f"`issued`, or {ERROR_CODE}",
        ("background_failures_total", "task"): ", ".join(map(code, sorted(task_names()))),
        ("ivs_requests_total", "operation"): ", ".join(map(code, sorted(ivs_operations()))),
        ("ivs_requests_total", "code"): f"`ok`; {IVS_CODE}; `Unreadable` for a response that is not from IVS",
        ("revocation_errors_total", "code"): IVS_CODE,
        ("signer_info", "signer"): ", ".join(map(code, SIGNERS)),
        ("signer_info", "fallback_reason"): "a text; empty for the fastest signer",
    }.get((short, label), "AWS regions in which this deployment has keys")


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

`GET /metrics` serves the metrics of one machine's process in Prometheus's text format. No label contains a channel,
a viewer, a caller or a key.

| process | where |
| --- | --- |
| `tokensvc serve` | `{variable_name("port")}`; with `{variable_name("admin_port")}` only that port, on loopback |
| `tokensvc worker` | `{variable_name("admin_port")}`, on loopback; nowhere without it |
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

With an admin port, which listens on loopback, scrape from the same machine (an agent, or a sidecar in the same pod):

```yaml
scrape_configs:
  - job_name: tokensvc
    static_configs:
      - targets: ["127.0.0.1:9090"]
```

Counters that tasks and token requests increase are counted a few times a second, and before every scrape.
Successful scrapes are not in the access log.

### Several workers

With `{variable_name("workers")}` above 1, a scrape is answered by one of the workers, for all of them: counters and
histograms are summed, and of gauges the
largest value of a running worker is shown. The workers share their values in a directory `{METRICS_DIRECTORY}…`
among the system's temporary files (`TMPDIR`); the last
process that uses it removes it. If all of them were killed, the next `tokensvc serve` of the same user removes it.
Do not set `PROMETHEUS_MULTIPROC_DIR`:
tokensvc sets it itself."""
