"""The JavaScript client: its own tests, its types, its size, and what its package holds."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tokensvc

MODULE = Path(__file__).parents[2] / "clients/js"
MAX_MINIFIED_BYTES = 5_000
MAX_GZIPPED_SOURCE_BYTES = 5_000

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")
needs_packages = pytest.mark.skipif(
    not (MODULE / "node_modules/.package-lock.json").exists(), reason="clients/js is not installed: make test-long"
)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_its_own_tests_pass() -> None:
    tests = sorted(path.name for path in (MODULE / "test").glob("*.test.js"))
    output = _run("node", "--expose-gc", "--test", "--test-reporter=tap", *(f"test/{name}" for name in tests))
    passed = re.search(r"^# pass (\d+)$", output, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 90
    assert "# SKIP" not in output


@pytest.mark.long
@needs_packages
def test_its_types_are_valid_and_reject_mistakes() -> None:
    _run("node_modules/.bin/tsc", "--project", "test")


@pytest.mark.long
@needs_packages
def test_it_is_under_5_kb_minified() -> None:
    options = ("--bundle", "--format=esm", "--minify", "--target=es2022", "--log-level=warning")
    minified = _run("node_modules/.bin/esbuild", "index.js", *options)
    assert 0 < len(minified.encode()) < MAX_MINIFIED_BYTES


def test_its_source_is_under_5_kb_as_it_is_sent() -> None:
    assert len(gzip.compress((MODULE / "index.js").read_bytes(), 9)) < MAX_GZIPPED_SOURCE_BYTES


@pytest.mark.slow
def test_its_package_holds_the_module_its_types_and_nothing_else() -> None:
    [package] = json.loads(_run("npm", "pack", "--dry-run", "--json", "--offline"))
    assert {file["path"] for file in package["files"]} == {"README.md", "index.d.ts", "index.js", "package.json"}


def test_it_has_no_dependencies_and_the_version_of_the_service() -> None:
    package = json.loads((MODULE / "package.json").read_text())
    assert "dependencies" not in package
    assert package["version"] == tokensvc.__version__
    source = (MODULE / "index.js").read_text()
    assert not re.findall(r"^\s*import\b|\bimport\(|\brequire\(", source, re.MULTILINE)


def test_it_never_writes_to_the_console_or_to_storage() -> None:
    source = (MODULE / "index.js").read_text()
    assert not re.findall(r"console\.|localStorage|sessionStorage|indexedDB|document\.cookie", source)
