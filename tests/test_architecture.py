"""The map in `tokensvc/__init__.py` is correct: which packages there are, and which may import which."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokensvc

ROOT = Path(tokensvc.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if (path.parent / "__init__.py").exists())
"""The installed files. The folder with the sources of the C extension is not a package."""

LEVELS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "commit",
        "validation_errors",
        "origins",
        "printable",
        "json_models",
        "secret_files",
        "clock",
        "timestamps",
        "log",
        "log_default",
        "metrics",
        "problems",
        "pagination",
        "outages",
        "toml_positions",
        "runner",
    ),
    ("aws.arn", "aws.control_plane"),
    ("jose",),
    ("json_objects",),
    ("audit",),
    ("callers",),
    ("deployment",),
    ("vault",),
    ("tokens",),
    ("keys",),
    ("revocations",),
    ("background",),
    ("diagnostics",),
    ("http",),
    ("storage", "aws.ivs", "aws.kms", "web", "local_ivs"),
    ("settings_file",),
    ("settings",),
    ("container",),
    ("supervisor",),
    ("cli", "__main__", "client"),
    ("testing",),
)
"""From left to right; a package may import from its own level and those before it. `settings` is so far to the right
because only the composition root may know the environment."""

INDEPENDENT = ({"storage"}, {"aws.ivs", "aws.kms"}, {"web"}, {"local_ivs"}, {"client"})
"""Packages of one level that never import each other, in either direction."""

STORAGE_OF_LOCAL_IVS = {"engine", "dialect", "errors"}
"""The modules of `storage` that the local IVS uses for its own database: how to open one, not the service's tables."""

SUBJECTS = {"audit", "callers", "deployment", "vault", "tokens", "keys", "revocations"}
SUBJECTS_OF_LOCAL_IVS = {"tokens.claims", "tokens.validation"}
"""All that the local IVS uses of the service's subjects: the playback rules."""

THIRD_PARTY: dict[str, set[str]] = {
    "errors": set(),
    "commit": set(),
    "validation_errors": {"pydantic"},
    "origins": set(),
    "printable": set(),
    "json_models": {"pydantic"},
    "secret_files": set(),
    "clock": set(),
    "timestamps": set(),
    "log": {"structlog"},
    "log_default": set(),
    "metrics": set(),
    "problems": set(),
    "pagination": {"pydantic"},
    "outages": set(),
    "toml_positions": set(),
    "runner": set(),
    "aws.arn": set(),
    "aws.control_plane": set(),
    "aws.ivs": {"boto3", "botocore"},
    "aws.kms": {"boto3", "botocore"},
    "jose": {"awscrt", "cryptography"},
    "json_objects": {"orjson"},
    "audit": {"pydantic"},
    "callers": {"httpx", "jwt", "pydantic"},
    "deployment": set(),
    "vault": {"cryptography"},
    "tokens": {"cachetools", "orjson", "pydantic"},
    "keys": {"cryptography", "pydantic"},
    "revocations": {"cryptography", "pydantic"},
    "background": set(),
    "diagnostics": {"pydantic"},
    "http": {"orjson", "pydantic", "starlette"},
    "storage": {"alembic", "psycopg", "sqlalchemy"},
    "web": {"anyio", "httptools", "httpx", "orjson", "pydantic", "redis", "starlette", "uvicorn"},
    "local_ivs": {
        "anyio",
        "av",
        "botocore",
        "cachetools",
        "maxminddb",
        "orjson",
        "pydantic",
        "sqlalchemy",
        "starlette",
    },
    "settings_file": set(),
    "settings": {"pydantic"},
    "container": {"anyio", "opentelemetry", "orjson", "prometheus_client", "pydantic", "starlette"},
    "supervisor": {"uvicorn"},
    "cli": {"click", "typer"},
    "__main__": set(),
    "client": {"httpcore", "httpx"},
    "testing": {"boto3", "botocore", "cryptography", "pytest", "sqlalchemy", "starlette"},
}
"""The third-party libraries that a package may import."""

PURE = (
    *(
        f"tokens/{name}.py"
        for name in ("request", "claims", "claim_rules", "authorization", "issuer", "token_response")
    ),
    *(f"tokens/{name}.py" for name in ("keyring", "snapshot", "validation", "denylist", "viewer_ids")),
    *(f"tokens/{name}.py" for name in ("channel_folders", "playback_decision", "playback_session", "single_uses")),
    *(f"keys/{name}.py" for name in ("lifecycle", "rotation_policy", "forecast", "key_import")),
    *(f"revocations/{name}.py" for name in ("model", "rate_limit", "ivs_results", "requests")),
    *(f"jose/{name}.py" for name in ("keypair", "pem", "es384", "jwk", "strict_json")),
    *(
        "aws/arn.py",
        "callers/api_keys.py",
        "callers/bounded_map.py",
        "callers/policy.py",
        "callers/policy_document.py",
        "callers/issuer_urls.py",
        "callers/limits.py",
        "callers/policy_changes.py",
        "callers/policy_file.py",
        "origins.py",
        "vault/envelope.py",
        "vault/kek.py",
        "printable.py",
        "timestamps.py",
        "problems.py",
    ),
    *("errors.py", "validation_errors.py"),
    *(f"local_ivs/edge/{name}.py" for name in ("window", "playlist", "media_playlist")),
)
"""Modules whose functions depend only on their arguments."""

IMPURE = {
    "os",
    "time",
    "random",
    "secrets",
    "logging",
    "socket",
    "subprocess",
    "threading",
    "pathlib",
    "sys",
    "asyncio",
}
"""Modules that pure code does not import: time, randomness, files, sockets and settings are passed as arguments."""

ASYNCHRONOUS = {"http", "web", "local_ivs/http", "local_ivs/watch", "container", "cli", "client"}

WEB_OF_CLI = {"server"}
"""All that commands use of `web`: the server. Use cases and views are in their subjects."""

BANNED_NAMES = {"utils", "helpers", "common", "base", "manager", "misc"}


def _package(path: Path) -> str:
    return _package_of(list(path.relative_to(ROOT).with_suffix("").parts))


def _package_of(parts: list[str]) -> str:
    """The first part of a module's name within tokensvc; of `aws`, whose modules are on two levels, the first two."""
    if parts[0] == "aws" and len(parts) > 1 and parts[1] != "__init__":
        return ".".join(parts[:2])
    return "aws.arn" if parts[0] == "aws" else parts[0]


def _group(package: str) -> int | None:
    return next((number for number, packages in enumerate(INDEPENDENT) if package in packages), None)


def _files(package: str) -> list[Path]:
    return [path for path in FILES if _package(path) == package]


@functools.cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


def _imports(path: Path) -> Iterator[str]:
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_packages(path: Path) -> set[str]:
    """The packages of tokensvc that a file imports from."""
    parts = [name.split(".") for name in _imports(path) if name.split(".")[0] == "tokensvc"]
    return {_package_of(p[1:]) for p in parts if len(p) > 1 and p[1] != "__version__"}


def _level(package: str) -> int:
    return next(number for number, packages in enumerate(LEVELS) if package in packages)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_map(path: Path) -> None:
    package = _package(path)
    if package == "__init__":
        assert not list(_imports(path)), "the map imports nothing"
        return
    imported = _imported_packages(path)
    if path == ROOT / "local_ivs" / "storage.py":
        used = {name.split(".")[2] for name in _imports(path) if name.startswith("tokensvc.storage.")}
        assert used <= STORAGE_OF_LOCAL_IVS
        imported -= {"storage"}
    for other in imported - {package}:
        groups = _group(package), _group(other)
        assert _level(other) <= _level(package), f"{package} imports {other}"
        assert groups[0] == groups[1] or None in groups, f"{package} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_imports_only_its_allowed_libraries(path: Path) -> None:
    libraries = {name.split(".")[0] for name in _imports(path)} - {"tokensvc"} - sys.stdlib_module_names
    assert libraries <= THIRD_PARTY.get(_package(path), set())


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_that_has_effects(name: str) -> None:
    assert not {imported.split(".")[0] for imported in _imports(ROOT / name)} & IMPURE
    assert not [n for n in _nodes(ROOT / name) if isinstance(n, ast.AsyncFunctionDef)]


def test_the_local_ivs_imports_only_the_playback_rules_of_the_subjects() -> None:
    used = {".".join(name.split(".")[1:3]) for path in _files("local_ivs") for name in _imports(path)}
    assert {module for module in used if module.split(".")[0] in SUBJECTS} <= SUBJECTS_OF_LOCAL_IVS


def test_only_what_starts_the_service_imports_the_settings() -> None:
    importing = {_package(path) for path in FILES if "settings" in _imported_packages(path)}
    assert importing <= {"container", "supervisor", "cli", "testing"}


def test_only_the_container_imports_the_metrics_library() -> None:
    """It must be imported after the supervisor has set the directory of its files."""
    for path in FILES:
        if "prometheus_client" in {name.split(".")[0] for name in _imports(path)}:
            assert _package(path) == "container", path


def test_only_code_that_faces_the_network_is_asynchronous() -> None:
    for path in FILES:
        if any(isinstance(node, ast.AsyncFunctionDef) for node in _nodes(path)):
            inside = path.relative_to(ROOT).as_posix()
            assert any(inside.startswith(f"{folder}/") for folder in ASYNCHRONOUS), path


@pytest.mark.parametrize("name", ["keys_context.py", "background.py", "service.py"])
def test_the_composition_root_changes_no_object_after_its_construction(name: str) -> None:
    """Every object gets its dependencies from its constructor: no attribute is set, and nothing is appended, later."""
    tree = ast.parse((ROOT / "container" / name).read_text("utf-8"))
    changed = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.AugAssign))
        or (isinstance(node, ast.Attribute) and node.attr in {"append", "extend", "_replace"})
    ]
    assert not changed


def test_the_client_imports_nothing_of_the_service_and_the_service_nothing_of_the_client() -> None:
    """A program that uses the client loads no server, and the client serves as an example of any other."""
    for path in FILES:
        imported = _imported_packages(path)
        if _package(path) == "client":
            assert imported <= {"client"}, path
        else:
            assert "client" not in imported, path


def test_the_cli_imports_only_the_server_of_web() -> None:
    """Use cases and views are in their subjects; `web` and `cli` are two interfaces to the same functions."""
    parts = {tuple(name.split(".")[1:3]) for path in _files("cli") for name in _imports(path)}
    assert {module for package, *modules in filter(None, parts) if package == "web" for module in modules} <= WEB_OF_CLI


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_has_a_meaningless_name(path: Path) -> None:
    assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & BANNED_NAMES


def _levels_of_the_map() -> tuple[tuple[str, ...], ...]:
    assert tokensvc.__doc__ is not None
    [order] = [paragraph for paragraph in tokensvc.__doc__.split("\n\n") if "<-" in paragraph]
    return tuple(tuple(re.findall(r"[\w.]+", level)) for level in order.split("<-"))


def test_the_map_names_every_package_and_top_level_module_and_nothing_else() -> None:
    assert tokensvc.__doc__ is not None
    named = re.findall(r"^    (\w[\w/]*(?:/|\.py))(?: |$)", tokensvc.__doc__, re.MULTILINE)
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in FILES if path.name == "__init__.py"} - {"./"}
    modules = {path.name for path in FILES if path.parent == ROOT}
    assert sorted(named) == sorted(packages | modules)


def test_the_order_in_the_map_is_the_tested_order() -> None:
    assert _levels_of_the_map() == LEVELS


def test_every_package_has_a_level_and_a_list_of_libraries() -> None:
    packages = {_package(path) for path in FILES} - {"__init__"}
    assert sorted(package for level in LEVELS for package in level) == sorted(packages)
    assert THIRD_PARTY.keys() == packages
