"""The test executable, built as shipped and with the sanitizers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jose.signing.compiled import SANITIZE, build_program, why_not, why_not_sanitized
from tests.jose.signing.native.checks import Checks

SOURCE = Path(__file__).parent / "checks.c"
BUILDS = {"as shipped": (), "sanitized": SANITIZE}


@pytest.fixture(scope="session", params=BUILDS)
def checks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checks]:
    """The running executable. If a sanitizer reports an error, it ends, and the next test that uses it fails."""
    folder = tmp_path_factory.mktemp("checks")
    if reason := why_not() if request.param == "as shipped" else why_not_sanitized(folder):
        pytest.skip(reason)
    program = folder / "checks"
    build_program(SOURCE, program, *BUILDS[request.param])
    with Checks(program) as running:
        if not running.supported():
            pytest.skip("this processor lacks AVX-512 IFMA")
        yield running
