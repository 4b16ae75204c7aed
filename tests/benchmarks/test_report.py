"""A benchmark prints one JSON object, or a table with the same content."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import report
from benchmarks.rounds import Spread

RATIOS: dict[str, float | Spread] = {"tokensvc / other": Spread(2.5, 2.0, 3.0), "memory after / before": 1.01}
FIGURES = {"tokensvc, per second": 5000.0, "calls": 7}


def print_report() -> None:
    skipped = {"Go": "go is not installed"}
    report("things", RATIOS, FIGURES, {"tokensvc / other": 2.0}, skipped=skipped, others={"node": "20"})


def test_json_output_is_one_object_with_ratios_figures_versions_and_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--json"])
    print_report()
    output = json.loads(capsys.readouterr().out)
    assert output["benchmark"] == "things"
    assert output["ratios"] == {"tokensvc / other": 2.5, "memory after / before": 1.01}
    assert output["spread"] == {"tokensvc / other": [2.0, 3.0]}
    assert output["figures"] == FIGURES
    assert output["skipped"] == {"Go": "go is not installed"}
    assert output["versions"].keys() == {"python", "packages", "node"}
    assert output["machine"].keys() == {"cpu", "cores", "system"}


def test_the_table_starts_with_ratios_and_their_spread_and_names_what_was_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark"])
    print_report()
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]
    assert lines[1:] == [
        "tokensvc / other 2.50 2.00 to 3.00 (target: 2.0)",
        "memory after / before 1.01",
        "tokensvc, per second 5,000.0",
        "calls 7",
        "skipped: Go: go is not installed",
    ]
