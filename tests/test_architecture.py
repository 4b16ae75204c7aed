"""The map in `tokensvc/__init__.py` is true."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokensvc

ROOT = Path(tokensvc.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if (path.parent / "__init__.py").exists())
"""What is installed: what builds the C extension is no package."""

LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "json_models"),
    ("core",),
    ("json_objects", "pagination"),
    ("ports",),
    ("admit", "issue", "wrap", "subjects", "rotate", "rewrap", "revoke", "revocations", "keys", "ivs"),
    ("logger", "edge", "loops"),
    ("diagnostics",),
    ("web", "adapters"),
    ("settings",),
    ("vaulting", "performing", "duties", "wiring"),
    ("app", "serving", "cli", "__main__"),
)
"""From left to right; a room may import from its own level and those before it. `settings` stands so far right because
only assembly may know what the environment says."""

APART = (
    ("web", "adapters"),
    ("ivs", "issue"),
    ("ivs", "rotate"),
    ("ivs", "revoke"),
    ("ivs", "admit"),
    ("ivs", "revocations"),
    ("ivs", "keys"),
    ("revocations", "keys"),
    ("edge", "loops"),
)
"""Rooms of one level that never import each other, in either direction."""

THIRD_PARTY: dict[str, set[str]] = {
    "errors": set(),
    "json_models": {"pydantic"},
    "core": {"cryptography", "pydantic"},
    "json_objects": {"orjson"},
    "pagination": {"pydantic"},
    "ports": set(),
    "admit": set(),
    "issue": {"orjson"},
    "rotate": set(),
    "wrap": set(),
    "subjects": set(),
    "rewrap": set(),
    "revoke": set(),
    "revocations": {"pydantic"},
    "keys": {"pydantic"},
    "ivs": {"botocore"},
    "edge": set(),
    "logger": {"structlog"},
    "loops": {"cachetools"},
    "diagnostics": {"pydantic"},
    "web": {"anyio", "httptools", "orjson", "pydantic", "starlette", "uvicorn"},
    "adapters": {
        "alembic",
        "awscrt",
        "boto3",
        "botocore",
        "cryptography",
        "orjson",
        "prometheus_client",
        "psycopg",
        "sqlalchemy",
    },
    "settings": {"pydantic"},
    "vaulting": {"pydantic"},
    "performing": set(),
    "duties": set(),
    "wiring": set(),
    "app": {"anyio", "starlette"},
    "serving": {"prometheus_client"},
    "cli": {"click", "orjson", "rich", "starlette", "typer", "uvicorn"},
    "__main__": set(),
}
"""What a room may use of other people's code."""

ASKS_THE_WORLD = {"os", "time", "random", "secrets", "logging", "socket", "subprocess", "threading", "pathlib", "sys"}
"""Modules that pure code does without: time, chance, files, sockets and settings come in as arguments."""

SERVES = {"server", "hangup", "collector", "local"}
"""All that commands use of `web`: what listens, and the application of the local IVS."""

BANNED_NAMES = {"utils", "helpers", "common", "base", "manager", "misc"}


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _ours(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    parts = [name.split(".") for name in _imports(path) if name.split(".")[0] == "tokensvc"]
    return {p[1] for p in parts if len(p) > 1 and p[1] != "__version__"}


def _level(room: str) -> int:
    return next(number for number, rooms in enumerate(LEVELS) if room in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        assert not list(_imports(path)), "the map imports nothing"
        return
    for other in _ours(path) - {room}:
        assert _level(other) <= _level(room), f"{room} imports {other}"
        assert (room, other) not in APART, f"{room} imports {other}"
        assert (other, room) not in APART, f"{room} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_uses_only_the_libraries_that_it_may(path: Path) -> None:
    foreign = {name.split(".")[0] for name in _imports(path)} - {"tokensvc"} - sys.stdlib_module_names
    assert foreign <= THIRD_PARTY.get(_room(path), set())


@pytest.mark.parametrize("path", sorted((ROOT / "core").glob("*.py")), ids=lambda p: p.name)
def test_core_asks_the_world_nothing(path: Path) -> None:
    assert not {name.split(".")[0] for name in _imports(path)} & ASKS_THE_WORLD


@pytest.mark.parametrize("name", ["admit.py", "issue.py"])
def test_the_hot_path_asks_the_world_nothing(name: str) -> None:
    assert not {imported.split(".")[0] for imported in _imports(ROOT / name)} & (ASKS_THE_WORLD | {"asyncio"})
    assert not [n for n in ast.walk(ast.parse((ROOT / name).read_text())) if isinstance(n, ast.AsyncFunctionDef)]


def test_only_assembly_knows_the_settings() -> None:
    assert {_room(path) for path in FILES if "settings" in _ours(path)} <= {
        "vaulting",
        "performing",
        "wiring",
        "app",
        "serving",
        "cli",
    }


def test_only_web_and_the_application_are_asynchronous() -> None:
    for path in FILES:
        if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse(path.read_text("utf-8")))):
            assert _room(path) in {"web", "app", "cli"}, path


@pytest.mark.parametrize("name", ["performing.py", "duties.py", "wiring.py"])
def test_assembly_sets_nothing_on_what_was_made(name: str) -> None:
    """Everything gets what it needs from its constructor: no attribute is set, and nothing is appended, afterwards."""
    tree = ast.parse((ROOT / name).read_text("utf-8"))
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
    parts = {tuple(name.split(".")[1:3]) for path in (ROOT / "cli").rglob("*.py") for name in _imports(path)}
    assert {module for room, *modules in filter(None, parts) if room == "web" for module in modules} <= SERVES


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_name_says_what_is_inside(path: Path) -> None:
    assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & BANNED_NAMES


def test_every_room_is_on_the_map() -> None:
    """Every module that the map names exists, and no room was added without it."""
    assert {_room(path) for path in FILES} - {"__init__"} == {room for rooms in LEVELS for room in rooms}
    for room in {room for rooms in LEVELS for room in rooms} - {"__main__", "serving"}:
        assert f"{room}/" in tokensvc.__doc__ or f"{room}.py" in tokensvc.__doc__, room
