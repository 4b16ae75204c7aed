"""A benchmark prints one object that others can read, or a table that says the same."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import report
from benchmarks.rounds import Spread

RATIOS: dict[str, float | Spread] = {"ours / theirs": Spread(2.5, 2.0, 3.0), "memory after / before": 1.01}
FIGURES = {"ours, per second": 5000.0, "calls": 7}


def print_report() -> None:
    report(
        "things", RATIOS, FIGURES, {"ours / theirs": 2.0}, left_out={"Go": "go is not installed"}, others={"node": "20"}
    )


def test_json_is_one_object_with_figures_ratios_versions_and_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--json"])
    print_report()
    said = json.loads(capsys.readouterr().out)
    assert said["benchmark"] == "things"
    assert said["ratios"] == {"ours / theirs": 2.5, "memory after / before": 1.01}
    assert said["spread"] == {"ours / theirs": [2.0, 3.0]}
    assert said["figures"] == FIGURES
    assert said["left_out"] == {"Go": "go is not installed"}
    assert said["versions"].keys() == {"python", "packages", "node"}
    assert said["machine"].keys() == {"cpu", "cores", "system"}


def test_the_table_has_ratios_first_with_their_spread_and_names_who_was_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark"])
    print_report()
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]
    assert lines[1:] == [
        "ours / theirs 2.50 2.00 to 3.00 (wanted: 2.0)",
        "memory after / before 1.01",
        "ours, per second 5,000.0",
        "calls 7",
        "left out: Go: go is not installed",
    ]
