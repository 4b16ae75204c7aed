"""Each alert rule fires when it should and not otherwise, as Prometheus itself evaluates it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from docs.generator import alerts
from tests.deploy.alert_cases import CASES, Series

pytestmark = pytest.mark.long

PROMTOOL = shutil.which("promtool")
RULES = {rule.name: rule for rule in alerts.rules()}


def test_every_alert_has_a_case() -> None:
    assert CASES.keys() == RULES.keys()


@pytest.mark.slow
@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: make system-packages")
def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    for number, names in enumerate(_by_length()):
        tests = [test for name in names for test in (_test(name, is_firing=True), _test(name, is_firing=False))]
        result = _promtool(tmp_path, tests, evaluated_every=f"{10**number}m")
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: make system-packages")
def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    test = _test("TokensvcNoActiveKey", is_firing=False)
    test["input_series"] = _test("TokensvcNoActiveKey", is_firing=True)["input_series"]
    assert _promtool(tmp_path, [test]).returncode != 0


def _by_length() -> tuple[list[str], list[str]]:
    """The alerts that are judged within four hours, and the others: all rules are evaluated for each."""
    return (
        [name for name, case in CASES.items() if case.minutes <= 240],
        [name for name, case in CASES.items() if case.minutes > 240],
    )


def _test(name: str, *, is_firing: bool) -> dict[str, Any]:
    case, rule = CASES[name], RULES[name]
    expected = {
        "exp_labels": {"severity": rule.severity, **case.labels},
        "exp_annotations": {"summary": rule.summary, "runbook": rule.runbook},
    }
    return {
        "name": f"{name} {'fires' if is_firing else 'is quiet'}",
        "interval": "1m",
        "input_series": _input(case.firing if is_firing else case.quiet),
        "alert_rule_test": [
            {
                "alertname": name,
                "eval_time": f"{case.minutes}m",
                "exp_alerts": [expected] if is_firing else [],
            }
        ],
    }


def _input(series: Series) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]


def _promtool(
    folder: Path, tests: list[dict[str, Any]], evaluated_every: str = "1m"
) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    suite = {"rule_files": [str(alerts.RULES)], "evaluation_interval": evaluated_every, "tests": tests}
    file = folder / "tests.json"  # JSON is YAML
    file.write_text(json.dumps(suite))
    return subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False)
