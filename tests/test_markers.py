"""Tests that need several processes or a PostgreSQL server have the marker for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.postgres import PostgresServer

SERVER = PostgresServer(Path("nowhere"), Path("nowhere"), {})


def test_the_end_to_end_tests_are_marked(request: pytest.FixtureRequest) -> None:
    deployed = [item for item in request.session.items if item.nodeid.startswith(("tests/e2e/", "tests/hostile/"))]
    assert not [item.nodeid for item in deployed if item.get_closest_marker("e2e") is None]


def test_the_tests_that_use_the_postgresql_fixture_are_marked(request: pytest.FixtureRequest) -> None:
    using = [item for item in request.session.items if "postgres" in getattr(item, "fixturenames", ())]
    assert not [item.nodeid for item in using if item.get_closest_marker("postgres") is None]


def test_the_tests_that_compare_times_are_long(request: pytest.FixtureRequest) -> None:
    timing = [item for item in request.session.items if item.get_closest_marker("timing")]
    assert not [item.nodeid for item in timing if item.get_closest_marker("long") is None]


def test_a_test_without_the_marker_gets_no_server() -> None:
    """Also if the test requests the fixture by name at run time, which its list of fixtures does not show."""
    with pytest.raises(AssertionError, match="needs the marker `postgres`"):
        SERVER.url("a")


@pytest.mark.postgres
def test_a_test_with_the_marker_gets_a_server() -> None:
    assert SERVER.url("a") == "postgresql://postgres@/a?host=nowhere"


def test_the_fast_tests_exclude_all_of_these_markers() -> None:
    makefile = (Path(postgres.__file__).parents[2] / "Makefile").read_text("utf-8")
    [fast] = [line for line in makefile.splitlines() if line.startswith("FAST := ")]
    assert set(fast.removeprefix("FAST := ").split(" and ")) == {"not long", "not slow", "not e2e", "not postgres"}
