"""The duration of signing does not depend on leading zeros of the nonce, nor that of reading a scalar on its distance
from the order: tested with Welch's t-test, like dudect. (A few hundred signatures that are known to have short nonces
are enough to compute the key.)

|t| above 10 in any cropping counts as a difference; two equal classes stay below 5. Functions with a naive timing leak
(for `sign` about 1 % of the duration of a call) show that the test can fail.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.jose.signing.compiled import build_program, why_not
from tests.support.signers import needs_multibuffer

DIFFERENT = 10.0
ATTEMPTS = 5

pytestmark = [
    pytest.mark.long,
    pytest.mark.timing,
    needs_multibuffer,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


@pytest.fixture(scope="module")
def timing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("timing") / "timing"
    build_program(Path(__file__).parent / "timing.c", program, "-lm")
    return program


def largest_t(timing: Path, function: str, measurements: int) -> float:
    """The largest |t| of all croppings."""
    ran = subprocess.run([timing, function, str(measurements)], capture_output=True, text=True, check=True)
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert [int(rows[-1][2]), len(rows)] == [measurements, 12]
    return max(abs(float(t)) for _, t, _ in rows)


@pytest.mark.parametrize(("function", "measurements"), [("sign", 100_000), ("read", 2_000_000)])
def test_the_duration_does_not_depend_on_the_secret(function: str, measurements: int, timing: Path) -> None:
    assert largest_t(timing, function, measurements) < DIFFERENT


@pytest.mark.parametrize(("function", "measurements"), [("leaky-sign", 100_000), ("leaky-read", 2_000_000)])
def test_a_timing_leak_is_detected(function: str, measurements: int, timing: Path) -> None:
    """In one of a few runs: on a machine that others disturb, the noise of a run may hide a difference of 1 %."""
    assert any(largest_t(timing, function, measurements) > DIFFERENT for _ in range(ATTEMPTS))
