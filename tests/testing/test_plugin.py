"""The pytest plugin: in runs of pytest as an app's developers make them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.plugin_runs import counts, run_pytest
from tests.support.wheels import ROOT
from tokensvc.testing import plugin

pytestmark = pytest.mark.slow


def test_tests_are_independent_and_restore_the_environment(tmp_path: Path) -> None:
    variables = {"AWS_PROFILE": "production", "AWS_ACCESS_KEY_ID": "AKIAREAL", "HTTP_PROXY": "http://proxy.invalid:1"}
    result = run_pytest("independent", tmp_path, variables=variables)
    assert counts(result) == {"passed": 9}


@pytest.mark.long
def test_workers_of_xdist_have_servers_of_their_own(tmp_path: Path) -> None:
    """Distributed test by test, so that both workers have accounts with the same number."""
    result = run_pytest("independent", tmp_path, "-n", "2", "--dist", "each")
    assert counts(result) == {"passed": 18}


@pytest.mark.long
def test_the_fixtures_work_inside_mock_aws(tmp_path: Path) -> None:
    ignored = ("-W", "ignore::DeprecationWarning")  # of moto
    assert counts(run_pytest("with_moto", tmp_path, *ignored)) == {"passed": 4}


def test_each_account_gets_the_resources_of_the_seed_file(tmp_path: Path) -> None:
    (tmp_path / "channels.toml").write_text("[channels.main]\nauthorized = true\nlive = true\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nivs_seed = channels.toml\n")
    assert counts(run_pytest("seeded", tmp_path)) == {"passed": 2}


@pytest.mark.long
def test_a_bad_seed_file_fails_each_test_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "channels.toml").write_text("[channels.main]\nauthorised = true\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nivs_seed = channels.toml\n")
    result = run_pytest("seeded", tmp_path, code=1)
    assert counts(result) == {"errors": 2}
    assert "channels.toml:2: channels.main.authorised: is not a known field" in result.out


def test_unused_it_loads_and_starts_nothing(tmp_path: Path) -> None:
    assert counts(run_pytest("unused", tmp_path, "-p", "no:hypothesispytest", "-p", "no:xdist")) == {"passed": 1}


def test_the_guide_lists_every_fixture() -> None:
    tree = ast.parse(Path(plugin.__file__).read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    fixtures = {f.name for f in functions if any("pytest.fixture" in ast.unparse(d) for d in f.decorator_list)}
    guide = (ROOT / "docs/how-to/test-with-local-ivs.md").read_text("utf-8")
    _, _, table = guide.partition("| fixture | what a test gets |")
    rows = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == {name for name in fixtures if not name.startswith("_")}
