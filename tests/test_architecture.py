"""The map in `tokensvc/__init__.py` is true."""

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
"""What is installed: what builds the C extension is no package."""

LEVELS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "validation_errors",
        "printable",
        "json_models",
        "secret_files",
        "clock",
        "timestamps",
        "log",
        "metrics",
        "problems",
        "pagination",
        "outages",
        "runner",
    ),
    ("aws.arn", "aws.control_plane"),
    ("jose",),
    ("json_objects",),
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
    ("settings",),
    ("container",),
    ("supervisor",),
    ("cli", "__main__"),
)
"""From left to right; a room may import from its own level and those before it. `settings` stands so far right because
only assembly may know what the environment says."""

SIDE_BY_SIDE = ({"storage"}, {"aws.ivs", "aws.kms"}, {"web"}, {"local_ivs"})
"""Rooms of one level that never import each other, in either direction."""

STORAGE_OF_LOCAL_IVS = {"engine", "dialect", "errors"}
"""What of `storage` the local IVS's own database uses: how to open one, not what is in the service's."""

SUBJECTS = {"callers", "deployment", "vault", "tokens", "keys", "revocations"}
SUBJECTS_OF_LOCAL_IVS = {"tokens.claims", "tokens.origins", "tokens.validation"}
"""All that the local IVS uses of the service's subjects: the rules of playback."""

THIRD_PARTY: dict[str, set[str]] = {
    "errors": set(),
    "validation_errors": {"pydantic"},
    "printable": set(),
    "json_models": {"pydantic"},
    "secret_files": set(),
    "clock": set(),
    "timestamps": set(),
    "log": {"structlog"},
    "metrics": set(),
    "problems": set(),
    "pagination": {"pydantic"},
    "outages": set(),
    "runner": set(),
    "aws.arn": set(),
    "aws.control_plane": set(),
    "aws.ivs": {"boto3", "botocore"},
    "aws.kms": {"boto3", "botocore"},
    "jose": {"awscrt", "cryptography"},
    "json_objects": {"orjson"},
    "callers": {"pydantic"},
    "deployment": set(),
    "vault": {"cryptography"},
    "tokens": {"cachetools", "orjson", "pydantic"},
    "keys": {"cryptography", "pydantic"},
    "revocations": {"cryptography", "pydantic"},
    "background": set(),
    "diagnostics": {"pydantic"},
    "http": {"orjson", "pydantic", "starlette"},
    "storage": {"alembic", "psycopg", "sqlalchemy"},
    "web": {"anyio", "httptools", "orjson", "pydantic", "starlette", "uvicorn"},
    "local_ivs": {"anyio", "botocore", "orjson", "pydantic", "sqlalchemy", "starlette"},
    "settings": {"pydantic"},
    "container": {"anyio", "prometheus_client", "pydantic", "starlette"},
    "supervisor": {"uvicorn"},
    "cli": {"click", "rich", "typer"},
    "__main__": set(),
}
"""What a room may use of other people's code."""

PURE = (
    *(f"tokens/{name}.py" for name in ("request", "claims", "origins", "authorization", "issuer", "keyring")),
    *(f"tokens/{name}.py" for name in ("snapshot", "validation", "denylist")),
    *(f"keys/{name}.py" for name in ("lifecycle", "rotation_policy", "forecast", "key_import")),
    *(f"revocations/{name}.py" for name in ("model", "rate_limit", "ivs_results", "requests")),
    *(f"jose/{name}.py" for name in ("keypair", "pem", "es384", "jwk", "strict_json")),
    *("aws/arn.py", "callers/policy.py", "vault/envelope.py", "printable.py", "timestamps.py", "problems.py"),
    *("errors.py", "validation_errors.py"),
)
"""Values in, values out."""

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
"""Modules that pure code does without: time, chance, files, sockets and settings come in as arguments."""

ASYNCHRONOUS = {"http", "web", "local_ivs/http", "container", "cli"}

SERVERS = {"server"}
"""All that commands use of `web`: what listens. Use cases and views are in their subjects."""

BANNED_NAMES = {"utils", "helpers", "common", "base", "manager", "misc"}


def _room(path: Path) -> str:
    return _room_of(list(path.relative_to(ROOT).with_suffix("").parts))


def _room_of(parts: list[str]) -> str:
    """The first part of a name within the package; of `aws`, whose two halves are far apart, the first two."""
    if parts[0] == "aws" and len(parts) > 1 and parts[1] != "__init__":
        return ".".join(parts[:2])
    return "aws.arn" if parts[0] == "aws" else parts[0]


def _side(room: str) -> int | None:
    return next((number for number, rooms in enumerate(SIDE_BY_SIDE) if room in rooms), None)


def _files(room: str) -> list[Path]:
    return [path for path in FILES if _room(path) == room]


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


def _ours(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    parts = [name.split(".") for name in _imports(path) if name.split(".")[0] == "tokensvc"]
    return {_room_of(p[1:]) for p in parts if len(p) > 1 and p[1] != "__version__"}


def _level(room: str) -> int:
    return next(number for number, rooms in enumerate(LEVELS) if room in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        assert not list(_imports(path)), "the map imports nothing"
        return
    ours = _ours(path)
    if path == ROOT / "local_ivs" / "storage.py":
        used = {name.split(".")[2] for name in _imports(path) if name.startswith("tokensvc.storage.")}
        assert used <= STORAGE_OF_LOCAL_IVS
        ours -= {"storage"}
    for other in ours - {room}:
        assert _level(other) <= _level(room), f"{room} imports {other}"
        assert _side(room) == _side(other) or None in (_side(room), _side(other)), f"{room} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_uses_only_the_libraries_that_it_may(path: Path) -> None:
    foreign = {name.split(".")[0] for name in _imports(path)} - {"tokensvc"} - sys.stdlib_module_names
    assert foreign <= THIRD_PARTY.get(_room(path), set())


@pytest.mark.parametrize("name", PURE)
def test_pure_files_import_nothing_that_has_effects(name: str) -> None:
    assert not {imported.split(".")[0] for imported in _imports(ROOT / name)} & IMPURE
    assert not [n for n in _nodes(ROOT / name) if isinstance(n, ast.AsyncFunctionDef)]


def test_the_local_ivs_uses_of_the_subjects_only_the_rules_of_playback() -> None:
    used = {".".join(name.split(".")[1:3]) for path in _files("local_ivs") for name in _imports(path)}
    assert {module for module in used if module.split(".")[0] in SUBJECTS} <= SUBJECTS_OF_LOCAL_IVS


def test_only_assembly_knows_the_settings() -> None:
    assert {_room(path) for path in FILES if "settings" in _ours(path)} <= {"container", "supervisor", "cli"}


def test_only_the_container_loads_the_metrics_library() -> None:
    """It must be loaded after the supervisor has set the directory of its files."""
    for path in FILES:
        if "prometheus_client" in {name.split(".")[0] for name in _imports(path)}:
            assert _room(path) == "container", path


def test_only_what_faces_the_network_is_asynchronous() -> None:
    for path in FILES:
        if any(isinstance(node, ast.AsyncFunctionDef) for node in _nodes(path)):
            inside = path.relative_to(ROOT).as_posix()
            assert any(inside.startswith(f"{folder}/") for folder in ASYNCHRONOUS), path


@pytest.mark.parametrize("name", ["reconciler.py", "background.py", "service.py"])
def test_assembly_sets_nothing_on_what_was_made(name: str) -> None:
    """Everything gets what it needs from its constructor: no attribute is set, and nothing is appended, afterwards."""
    tree = ast.parse((ROOT / "container" / name).read_text("utf-8"))
    changed = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.AugAssign))
        or (isinstance(node, ast.Attribute) and node.attr in {"append", "extend", "_replace"})
    ]
    assert not changed


def test_commands_use_of_web_only_what_serves() -> None:
    """Use cases and views are in their subjects; `web` and `cli` are two faces of the same functions."""
    parts = {tuple(name.split(".")[1:3]) for path in _files("cli") for name in _imports(path)}
    assert {module for room, *modules in filter(None, parts) if room == "web" for module in modules} <= SERVERS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_name_says_what_is_inside(path: Path) -> None:
    assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & BANNED_NAMES


def _picture() -> tuple[tuple[str, ...], ...]:
    """The order of imports as the map draws it."""
    assert tokensvc.__doc__ is not None
    [picture] = [paragraph for paragraph in tokensvc.__doc__.split("\n\n") if "<-" in paragraph]
    return tuple(tuple(re.findall(r"[\w.]+", level)) for level in picture.split("<-"))


def test_the_map_names_every_package_and_module_at_the_top_and_no_other() -> None:
    assert tokensvc.__doc__ is not None
    named = re.findall(r"^    (\w[\w/]*(?:/|\.py))(?: |$)", tokensvc.__doc__, re.MULTILINE)
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in FILES if path.name == "__init__.py"} - {"./"}
    modules = {path.name for path in FILES if path.parent == ROOT}
    assert sorted(named) == sorted(packages | modules)


def test_the_picture_on_the_map_is_the_order_that_is_held() -> None:
    assert _picture() == LEVELS


def test_every_room_has_a_level_and_a_list_of_libraries() -> None:
    rooms = {_room(path) for path in FILES} - {"__init__"}
    assert sorted(room for level in LEVELS for room in level) == sorted(rooms)
    assert THIRD_PARTY.keys() == rooms
