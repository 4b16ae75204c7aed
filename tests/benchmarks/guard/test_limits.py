"""A cost that has grown is named, with how much; one within its margin is let pass."""

from __future__ import annotations

import pytest

from benchmarks.guard import limits
from benchmarks.guard.__main__ import MEASUREMENTS
from benchmarks.guard.limits import InvalidLimits, Limit

LIMIT = Limit(1.2, 0.1, "Tokens are to be cheap.")


def test_the_committed_limits_are_those_of_what_is_measured() -> None:
    measured = [ratio for measure in MEASUREMENTS for ratio in measure.ratios]
    assert sorted(limits.read(limits.FILE.read_text("utf-8"))) == sorted(measured)


@pytest.mark.parametrize("measured", [1.0, 1.2, 1.31])
def test_what_is_within_the_margin_is_let_pass(measured: float) -> None:
    assert limits.regression("token / signature", LIMIT, measured) is None


def test_what_has_grown_is_named_with_how_much_what_was_let_pass_and_why_it_matters() -> None:
    assert limits.regression("token / signature", LIMIT, 1.5) == (
        "token / signature has grown by 25.0%: it is 1.500, usually 1.2, and at most 1.320 is let pass. "
        "Tokens are to be cheap."
    )


def test_what_has_become_better_is_told_so_that_the_limit_is_drawn_tighter() -> None:
    assert limits.improvement("token / signature", LIMIT, 1.09) is None
    assert "lower it in limits.toml" in str(limits.improvement("token / signature", LIMIT, 1.07))


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        '["r"]\nusual = 1.2\nmargin = 0.1\n',
        '["r"]\nusual = 1.2\nmargin = 0.1\nwhy = ""\n',
        '["r"]\nusual = 0.0\nmargin = 0.1\nwhy = "x"\n',
        '["r"]\nusual = 1.2\nmargin = 1.5\nwhy = "x"\n',
        '["r"]\nusual = 1.2\nmargin = 0.1\nwhy = "x"\nat_most = 2.0\n',
    ],
    ids=["a_not_toml", "b_no_reason", "c_empty_reason", "d_no_ratio", "e_no_share", "f_unknown_field"],
)
def test_a_file_of_other_things_is_refused(text: str) -> None:
    with pytest.raises(InvalidLimits):
        limits.read(text)
