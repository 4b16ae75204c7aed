"""The dashboards name metrics and labels that exist, in queries that Prometheus can parse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.generator import dashboards
from tokensvc.container.prometheus import PrometheusMetrics

FILES = sorted(dashboards.FOLDER.glob("*.json"))
LABELS = {
    name: set(getattr(collector, "_labelnames", ()))
    for name, collector in PrometheusMetrics()._registry._names_to_collectors.items()
}
OF_SCRAPES = {"job", "instance", "le"}
PROMTOOL = shutil.which("promtool")
_SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
_NO_NAMES = re.compile(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right) ?\([^)]*\)")
"""What has no names of metrics: matchers, ranges, and lists of labels."""
_NAME = re.compile(r"(?<![\w:])[A-Za-z_:][\w:]*\b(?!\s*\()")
"""A name that is not a function's."""
_OPERATORS = {"and", "or", "unless", "bool", "offset"}


def queries(file: Path) -> Iterator[tuple[str, str]]:
    """Each panel's title and query, with values for the variables."""
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], without_variables(target["expr"])


def metrics_of(query: str) -> set[str]:
    """Every metric that a query names, with or without matchers."""
    return set(_NAME.findall(_NO_NAMES.sub("", query))) - _OPERATORS


def without_variables(expression: str) -> str:
    for name, value in {**dashboards.VARIABLES, "__rate_interval": "15s"}.items():
        expression = expression.replace(f"${name}", value)
    return expression


ALL_QUERIES = [pytest.param(query, id=f"{file.stem}: {title}") for file in FILES for title, query in queries(file)]


def test_there_is_a_file_for_each_dashboard_and_no_other() -> None:
    assert sorted(dashboards.files()) == FILES
    assert len(ALL_QUERIES) > 50


@pytest.mark.parametrize("query", ALL_QUERIES)
def test_a_query_names_existing_metrics_and_labels(query: str) -> None:
    assert "$" not in query
    metrics = metrics_of(query)
    assert metrics
    assert not metrics - LABELS.keys(), "there are no such metrics"
    for metric, matchers in _SELECTOR.findall(query):
        assert set(_MATCHER.findall(matchers)) <= LABELS[metric] | OF_SCRAPES
    grouped = {label.strip() for labels in _GROUPING.findall(query) for label in labels.split(",")}
    assert grouped <= set().union(*(LABELS[metric] for metric in metrics)) | OF_SCRAPES


@pytest.mark.parametrize(
    ("query", "metrics"),
    [
        ("up", {"up"}),
        ('sum by (a) (rate(one_total{a="x"}[5m])) / two_total', {"one_total", "two_total"}),
        ("sum(one) by (a) or on (b) two unless 2 * 1e3 > bool three offset 5m", {"one", "two", "three"}),
        ("histogram_quantile(0.9, sum by (le) (rate(one_bucket[15s]))) + vector(0)", {"one_bucket"}),
    ],
)
def test_a_metric_is_checked_with_and_without_matchers(query: str, metrics: set[str]) -> None:
    assert metrics_of(query) == metrics


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_legend_names_labels_that_the_query_keeps(file: Path) -> None:
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel.get("targets", ()):
            grouped = {label.strip() for labels in _GROUPING.findall(target["expr"]) for label in labels.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped, panel["title"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_do_not_overlap_and_have_ids_of_their_own(file: Path) -> None:
    panels: list[dict[str, Any]] = json.loads(file.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set[tuple[int, int]]()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: make system-packages")
def test_promtool_parses_every_query(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    records = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(query for file in FILES for _, query in queries(file))
    ]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": records}]}))
    checked = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
