"""A benchmark prints one object that others can read, or a table that says the same."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import report
from benchmarks.rounds import Spread

RATIOS: dict[str, float | Spread] = {"tokensvc / theirs": Spread(2.5, 2.0, 3.0), "memory after / before": 1.01}
FIGURES = {"tokensvc, per second": 5000.0, "calls": 7}


def print_report() -> None:
    report(
        "things", RATIOS, FIGURES, {"tokensvc / theirs": 2.0}, skipped={"Go": "go is not installed"}, others={"node": "20"}
    )


def test_json_is_one_object_with_figures_ratios_versions_and_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--json"])
    print_report()
    output = json.loads(capsys.readouterr().out)
    assert output["benchmark"] == "things"
    assert output["ratios"] == {"tokensvc / theirs": 2.5, "memory after / before": 1.01}
    assert output["spread"] == {"tokensvc / theirs": [2.0, 3.0]}
    assert output["figures"] == FIGURES
    assert output["left_out"] == {"Go": "go is not installed"}
    assert output["versions"].keys() == {"python", "packages", "node"}
    assert output["machine"].keys() == {"cpu", "cores", "system"}


def test_the_table_has_ratios_first_with_their_spread_and_names_who_was_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark"])
    print_report()
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]
    assert lines[1:] == [
        "tokensvc / theirs 2.50 2.00 to 3.00 (wanted: 2.0)",
        "memory after / before 1.01",
        "tokensvc, per second 5,000.0",
        "calls 7",
        "left out: Go: go is not installed",
    ]
