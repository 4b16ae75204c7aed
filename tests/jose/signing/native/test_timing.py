"""Signing takes as long with nonces that have leading zeros as with others, and reading a scalar as long near the order
as far below it: by Welch's t-test, as dudect has it. (A few hundred signatures that are known to have a short nonce are
enough to compute the key.)

|t| above 10 in any cropping is a difference; two equal classes stay below 5. That the check can fail is shown on
functions that leak as naive ones do: for `sign` about a hundredth of the time of a call.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.jose.signing.compiled import build_program, why_not
from tests.support.signers import needs_multibuffer

DIFFERENT = 10.0

pytestmark = [
    pytest.mark.long,
    needs_multibuffer,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


@pytest.fixture(scope="module")
def timing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("timing") / "timing"
    build_program(Path(__file__).parent / "timing.c", program, "-lm")
    return program


def largest_t(timing: Path, function: str, measurements: int) -> float:
    """The largest |t| over all croppings."""
    ran = subprocess.run([timing, function, str(measurements)], capture_output=True, text=True, check=True)
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert [int(rows[-1][2]), len(rows)] == [measurements, 12]
    return max(abs(float(t)) for _, t, _ in rows)


@pytest.mark.parametrize(("function", "measurements"), [("sign", 100_000), ("read", 2_000_000)])
def test_the_time_says_nothing_of_the_number(function: str, measurements: int, timing: Path) -> None:
    assert largest_t(timing, function, measurements) < DIFFERENT


@pytest.mark.parametrize(("function", "measurements"), [("leaky-sign", 100_000), ("leaky-read", 2_000_000)])
def test_the_check_sees_a_function_whose_time_does(function: str, measurements: int, timing: Path) -> None:
    assert largest_t(timing, function, measurements) > DIFFERENT
