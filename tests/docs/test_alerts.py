"""The pages about alerts: each rule can be loaded by Prometheus and names what exists, and each page has its parts.

Metrics, labels, label values, log events and the figures that thresholds are derived from are compared with the code.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path

import botocore.exceptions
import pytest
from botocore.session import get_session

import tokensvc
from docs.generator import alerts
from docs.generator.error_codes import error_kinds
from tests.docs.code_blocks import code_blocks
from tokensvc.aws.ivs import ERROR_CLASSES
from tokensvc.background.heartbeat import INTERVAL_SECONDS, UNRESPONSIVE_AFTER_SECONDS
from tokensvc.background.refresh import INTERVAL_SECONDS as REFRESH_SECONDS
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.errors import TokensvcError
from tokensvc.keys.leader import INSPECTION_INTERVAL_SECONDS, RETRY_SECONDS
from tokensvc.keys.rotation_policy import max_staleness_seconds
from tokensvc.revocations.rate_limit import MAX_BACKOFF_SECONDS, delivery_seconds
from tokensvc.revocations.scheduler import LATE_SECONDS
from tokensvc.settings import Settings
from tokensvc.web.routes import OPERATIONS

PACKAGE = Path(tokensvc.__file__).parent
PAGES = {page.stem: page for page in alerts.pages()}
WITHOUT_METRIC = {
    "target-down": "up",
    "not-ready": "probe_success",
    "certificate": "probe_ssl_earliest_cert_expiry",
}
"""Pages about what tokensvc itself cannot export, and the metric of Prometheus or its blackbox exporter."""
HEADINGS = ["What it means", "Alert", "Look at", "Do", "When it is over"]
REQUESTS = "tokensvc_http_request_duration_seconds"
SYMPTOMS = (
    "revocations pile up",
    "a worker is out of sync",
    "the store is unreachable",
    "slots are full",
    "token requests get 503",
    "a key leaked",
)
PROMTOOL = shutil.which("promtool")
METRICS = {
    name: tuple(getattr(collector, "_labelnames", ()))
    for name, collector in PrometheusMetrics()._registry._names_to_collectors.items()
    if not name.endswith("_created")
}
SOURCES = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
_SELECTOR = re.compile(r"\b(tokensvc_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def queries(page: Path) -> list[str]:
    """The expressions of a page: those of its rules, and those to look at."""
    looked_at = [b.text.splitlines() for b in code_blocks(page, page.stem) if b.language == "promql"]
    return [rule.expression for rule in alerts.rules_of(page)] + [line for lines in looked_at for line in lines]


def values_of(metric: str, label: str) -> set[str]:
    """The values that the label of this metric may have."""
    exported = set(re.findall(rf'^{metric}\{{{label}="(\w+)"\}}', PrometheusMetrics().render().decode(), re.MULTILINE))
    return exported or {
        ("tokensvc_token_requests_total", "outcome"): {"issued"} | {kind.code for kind in error_kinds(TokensvcError)},
        ("tokensvc_background_failures_total", "task"): set(
            re.findall(r'(?:make_task|BackgroundTask)\(\s*"(\w+)"', SOURCES)
        ),
        ("tokensvc_ivs_requests_total", "operation"): set(get_session().get_service_model("ivs").operation_names),
        ("tokensvc_ivs_requests_total", "code"): {"ok", *ERROR_CLASSES},
        ("tokensvc_issuer_key_fetches_total", "outcome"): {"fetched", "failed"},
        (REQUESTS, "route"): {operation.path for operation in OPERATIONS},
        (REQUESTS, "status"): {str(status.value) for status in HTTPStatus},
    }.get((re.sub(f"^{REQUESTS}_(count|bucket)$", REQUESTS, metric), label), set())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_about_an_existing_metric_and_has_the_same_parts_as_all(name: str) -> None:
    text = PAGES[name].read_text("utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    metric = WITHOUT_METRIC.get(name) or "tokensvc_" + name.replace("-", "_")
    exported = next((found for found in (f"{metric}_total", metric) if found in METRICS), None)
    assert name in WITHOUT_METRIC or f"\n\nMetric: `{exported}`" in text
    written = alerts._BLOCK.search(text)
    rules = list(alerts.rules_of(PAGES[name]))
    assert written is not None
    assert len(rules) == written[1].count("- alert: ") > 0
    assert all(metric in rule.expression for rule in rules if name != "signer-verifications")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_an_expression_names_existing_metrics_labels_and_values(name: str) -> None:
    for query in queries(PAGES[name]):
        assert "tokensvc_" in query or WITHOUT_METRIC.get(name, "?") in query
        for metric, matchers in _SELECTOR.findall(query):
            assert metric in METRICS, f"{metric} in {query}"
            for label, pattern in _MATCHER.findall(matchers):
                assert label in METRICS[metric], f"{label} of {metric}"
                assert set(pattern.split("|")) <= values_of(metric, label), f"{metric}{{{label}}}: {pattern}"
        labels = {label.strip() for names in _GROUPING.findall(query) for label in names.split(",")}
        known = {label for metric, _ in _SELECTOR.findall(query) for label in METRICS[metric]}
        assert labels <= known | {"instance", "job", "le"}, query


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: make system-packages")
def test_promtool_accepts_every_rule_and_expression(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = [
        {"alert": rule.name, "expr": rule.expression, "labels": {"severity": rule.severity}}
        | ({"for": rule.duration} if rule.duration else {})
        for rule in alerts.rules()
    ]
    looked_at = {query for page in PAGES.values() for query in queries(page)}
    records = [{"record": f"looked_at:{n}", "expr": query} for n, query in enumerate(sorted(looked_at))]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "tokensvc", "rules": rules + records}]}))
    checked = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    subprocess.run([PROMTOOL, "check", "rules", alerts.RULES], capture_output=True, check=True)


def test_no_two_alerts_have_one_name() -> None:
    names = [rule.name for rule in alerts.rules()]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_the_index_leads_from_each_symptom_and_each_alert_to_a_page() -> None:
    index = (alerts.FOLDER / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(([\w-]+)\.md\)", index))
    assert linked == PAGES.keys()
    for symptom in SYMPTOMS:
        assert re.search(rf"^\| {symptom} \| .*\]\(.*\.md\)", index, re.MULTILINE), symptom


@pytest.mark.parametrize("name", PAGES)
def test_a_log_event_that_a_page_names_exists(name: str) -> None:
    text = PAGES[name].read_text("utf-8")
    lines = [line for line in text.splitlines() if re.match(r"- Log\b", line)]
    for event in (span for line in lines for span in re.findall(r"`([^`]+)`", line)):
        if " " in event and '"' not in event:
            assert f'"{event}"' in SOURCES, f"no log line has the event {event!r}"


@pytest.mark.parametrize("name", PAGES)
def test_a_code_that_a_table_explains_exists(name: str) -> None:
    ours = {kind.code for kind in error_kinds(TokensvcError)} | {"draining"}
    known = ours | ERROR_CLASSES.keys() | {"Unreadable"} | vars(botocore.exceptions).keys()
    _, found, rest = PAGES[name].read_text("utf-8").partition("\n| code | ")
    rows = rest.partition("\n\n")[0].splitlines()[2:] if found else []
    for code in (span for row in rows for span in re.findall(r"`([^`]+)`", row.split("|")[1])):
        assert code in known, code


def test_the_figures_that_thresholds_are_derived_from_are_those_of_the_code() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    lease, store_timeout = defaults["snapshot_lease_seconds"], defaults["store_timeout_seconds"]
    staleness = max_staleness_seconds(lease, store_timeout)
    assert (lease, staleness + 3600 + CLOCK_SKEW_SECONDS) == (900, 4515)
    assert (REFRESH_SECONDS, INTERVAL_SECONDS, UNRESPONSIVE_AFTER_SECONDS) == (0.8, 5, 30)
    assert (INSPECTION_INTERVAL_SECONDS, RETRY_SECONDS) == (30, 5)
    assert delivery_seconds(12_000, defaults["revocation_rate_fraction"]) == 300
    assert (LATE_SECONDS, MAX_BACKOFF_SECONDS) == (60, 300)
