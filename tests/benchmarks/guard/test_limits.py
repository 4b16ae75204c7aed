"""A cost that has grown is reported with the amount; one within its margin is accepted."""

from __future__ import annotations

import pytest

from benchmarks.guard import limits
from benchmarks.guard.__main__ import MEASUREMENTS
from benchmarks.guard.limits import InvalidLimits, Limit

LIMIT = Limit(1.2, 0.1, "Tokens must be cheap.")


def test_the_committed_limits_cover_exactly_the_measured_ratios() -> None:
    measured = [ratio for measure in MEASUREMENTS for ratio in measure.ratios]
    assert sorted(limits.read(limits.FILE.read_text("utf-8"))) == sorted(measured)


@pytest.mark.parametrize("measured", [1.0, 1.2, 1.31])
def test_a_ratio_within_the_margin_is_not_a_regression(measured: float) -> None:
    assert limits.regression("token / signature", LIMIT, measured) is None


def test_a_regression_is_reported_with_its_size_its_limit_and_the_reason() -> None:
    assert limits.regression("token / signature", LIMIT, 1.5) == (
        "token / signature has grown by 25.0%: it is 1.500, the baseline is 1.2 and the limit 1.320. "
        "Tokens must be cheap."
    )


def test_an_improvement_is_reported_so_that_the_baseline_can_be_lowered() -> None:
    assert limits.improvement("token / signature", LIMIT, 1.09) is None
    assert "lower it in limits.toml" in str(limits.improvement("token / signature", LIMIT, 1.07))


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        '["r"]\nbaseline = 1.2\nmargin = 0.1\n',
        '["r"]\nbaseline = 1.2\nmargin = 0.1\nreason = ""\n',
        '["r"]\nbaseline = 0.0\nmargin = 0.1\nreason = "x"\n',
        '["r"]\nbaseline = 1.2\nmargin = 1.5\nreason = "x"\n',
        '["r"]\nbaseline = 1.2\nmargin = 0.1\nreason = "x"\nmaximum = 2.0\n',
    ],
    ids=["not_toml", "no_reason", "empty_reason", "zero_baseline", "margin_above_one", "unknown_field"],
)
def test_an_invalid_file_is_rejected(text: str) -> None:
    with pytest.raises(InvalidLimits):
        limits.read(text)
