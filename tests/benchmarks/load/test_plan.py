"""Plans: the built-in ones are valid, and invalid ones are rejected with line and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import plan
from benchmarks.load.pacer import Stage
from benchmarks.load.plan import InvalidPlan

GOOD = """\
title = "t"
[[stage]]
seconds = 10
rate = [0, 100]
[[request]]
kind = "token"
"""
OURS = sorted(plan.PLANS.glob("*.toml"))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_each_built_in_plan_is_valid(path: Path) -> None:
    assert plan.read(plan.find(path.stem)).title


def test_the_built_in_plans_are_complete() -> None:
    assert [path.stem for path in OURS] == ["batch", "mixed", "rotation", "soak", "steady", "stream_start"]


def test_a_stream_start_ramps_from_zero_to_its_peak_in_ten_seconds() -> None:
    ramp, *_ = plan.read(plan.find("stream_start")).stage
    assert (ramp.seconds, ramp.rate[0]) == (10, 0)
    assert ramp.rate[1] > 0


def test_the_documented_scale_of_the_stream_start_is_a_million_viewers() -> None:
    ramp, *_ = plan.read(plan.find("stream_start")).stage
    assert ramp.scaled(50).requests == 1_000_000
    assert "--scale 50" in plan.find("stream_start").read_text("utf-8")


def test_a_plan_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    assert plan.read(plan.find(str(tmp_path / "mine.toml"))).title == "t"


def test_a_scale_multiplies_rates_but_not_durations() -> None:
    [stage] = plan.parse(GOOD, "p").stage
    assert stage.scaled(2.5) == Stage(10, 0, 250)


def test_an_unknown_name_is_rejected_with_the_built_in_names() -> None:
    with pytest.raises(InvalidPlan, match="the built-in plans are batch, mixed"):
        plan.find("stead")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "t"', "", "p.toml:1: title: Field required"),
        ('title = "t"', "title =", "p.toml: Invalid value (at line 1, column 8)"),
        ('title = "t"', 'title = "t"\nconnection = 3', "p.toml:2: connection: Extra inputs are not permitted"),
        (
            'title = "t"',
            'title = "t"\nwarmup_seconds = 10',
            "p.toml:2: warmup_seconds: must be shorter than all stages",
        ),
        ('title = "t"', 'title = "t"\narrivals = "odd"', "p.toml:2: arrivals: Input should be 'even' or 'poisson'"),
        ("seconds = 10", "seconds = 0", "p.toml:3: stage.0.seconds: Input should be greater than 0"),
        ("rate = [0, 100]", "rate = 0", "p.toml:2: stage: must have at least one stage with a rate above 0"),
        (
            "rate = [0, 100]",
            "rate = [\n0,\n-5]",
            "p.toml:4: stage.0.rate.1: Input should be greater than or equal to 0",
        ),
        ("rate = [0, 100]", "rate = [1, 2, 3]", "p.toml:4: stage.0.rate: must be a rate, or [from, to]"),
        ("rate = [0, 100]", "rate = 'fast'", "p.toml:4: stage.0.rate: must be a rate, or [from, to]"),
        ('"token"', '"tokens"', "p.toml:6: request.0.kind: must be one of token, batch, revocation"),
        ('"token"', '"token"\nbatch_size = 5', "p.toml:7: request.0.batch_size: must be 1 for the kind token"),
        (
            '"token"',
            '"batch"\nbatch_size = 501',
            "p.toml:7: request.0.batch_size: Input should be less than or equal to 500",
        ),
        ('"token"', '"token"\nweight = 0', "p.toml:7: request.0.weight: Input should be greater than 0"),
        ('"token"', '"token"\n[[action]]\nat_seconds = 1', "p.toml:7: action.0.command: Field required"),
        ('"token"', '"token"\n[[action]]\nat_seconds=10\ncommand="x"', "p.toml:8: action.0.at_seconds: must be before"),
        (
            '"token"',
            '"token"\n[[action]]\nat_seconds=1\ncommand="x \'"',
            "p.toml:9: action.0.command: No closing quotation",
        ),
    ],
    ids=lambda text: text.replace("\n", "; "),
)
def test_an_invalid_plan_is_rejected_with_the_line_and_the_rule(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidPlan) as raised:
        plan.parse(GOOD.replace(old, new), "p.toml")
    assert str(raised.value).startswith(message)


def test_all_broken_rules_are_reported_together() -> None:
    with pytest.raises(InvalidPlan) as raised:
        plan.parse(GOOD.replace("seconds = 10", "seconds = -1").replace('"token"', '"x"'), "p.toml")
    assert [line.split(":")[1] for line in str(raised.value).splitlines()] == ["3", "6"]
