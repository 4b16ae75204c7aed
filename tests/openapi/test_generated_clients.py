"""Code generators understand the OpenAPI document: their clients are type-checked strictly, and used beside a demo.

The generators are in build/generators, which `make test-long` installs: openapi-typescript from the lock file of npm,
and openapi-python-client, whose dependencies exclude some of ours, in an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.support.demo import running_demo
from tests.support.processes import environment

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
GENERATORS = ROOT / "build/generators"
NODE_MODULES = GENERATORS / "node_modules"
PYTHON_GENERATOR = GENERATORS / "venv/bin/openapi-python-client"
EXPECTED = {
    "code": "invalid_request",
    "field": "viewerId",
    "results": ["token", "invalid_request"],
    "pages": 200,
    "isRevoked": True,
}

pytestmark = pytest.mark.long


class _Service(NamedTuple):
    document: bytes
    variables: Mapping[str, str]
    """What the programs need."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Service]:
    folder = tmp_path_factory.mktemp("demo")
    with running_demo(folder) as demo:
        info = demo.info
        with urllib.request.urlopen(f"{info['url']}/openapi.json") as response:
            document = response.read()
        yield _Service(
            document,
            environment(folder / "home")
            | {"TOKENS": info["url"], "KEY": info["apiKey"], "CHANNEL": info["channelArn"], "NO_PROXY": "127.0.0.1"},
        )


def _run(arguments: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        arguments, cwd=folder, env=dict(variables), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _check_result(output: str) -> None:
    result: dict[str, Any] = orjson.loads(output.splitlines()[-1])
    with urllib.request.urlopen(result.pop("playbackUrl")) as response:
        assert response.status == 200, "the token starts playback"
    assert result == EXPECTED


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: make system-packages")
@pytest.mark.skipif(not NODE_MODULES.exists(), reason="build/generators has no node_modules: make test-long, with npm")
def test_a_typescript_program_with_generated_types_compiles_strictly_and_works(
    service: _Service, tmp_path: Path
) -> None:
    for name in ("program.ts", "tsconfig.json", "package.json"):
        shutil.copy(PROGRAMS / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "openapi.json").write_bytes(service.document)
    node = shutil.which("node") or ""
    generator = NODE_MODULES / "openapi-typescript/bin/cli.js"
    output = _run([node, str(generator), "openapi.json", "-o", "schema.d.ts"], tmp_path, service.variables)
    assert "warn" not in output.lower()
    _run([node, str(NODE_MODULES / "typescript/bin/tsc"), "--project", "."], tmp_path, service.variables)
    _check_result(_run([node, "program.js"], tmp_path, service.variables))


@pytest.mark.skipif(not PYTHON_GENERATOR.exists(), reason="build/generators has no environment: make test-long")
def test_a_python_program_with_a_generated_package_is_typed_strictly_and_works(
    service: _Service, tmp_path: Path
) -> None:
    shutil.copy(PROGRAMS / "program.py", tmp_path)
    (tmp_path / "openapi.json").write_bytes(service.document)
    (tmp_path / "config.yml").write_text("package_name_override: generated\npost_hooks: []\n")
    options = ["--path", "openapi.json", "--meta", "none", "--output-path", "generated", "--config", "config.yml"]
    output = _run([str(PYTHON_GENERATOR), "generate", "--fail-on-warning", *options], tmp_path, service.variables)
    assert "warning" not in output.lower()
    (tmp_path / "generated/py.typed").touch()
    checks = ["--strict", "--no-incremental", "--config-file", "", "program.py", "generated"]
    _run([sys.executable, "-m", "mypy", *checks], tmp_path, service.variables)
    _check_result(_run([sys.executable, "program.py"], tmp_path, service.variables))
