"""The programs of `docs/examples`, shown in the guides that explain them. `tests/clients` runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_LANGUAGES = {".js": "js", ".py": "python", ".html": "html"}


def _passage(path: str) -> Callable[[], str]:
    file = EXAMPLES / path

    def render() -> str:
        return f'```{_LANGUAGES[file.suffix]} title="{file.name}"\n{file.read_text("utf-8").strip()}\n```'

    return render


PASSAGES: Mapping[str, Callable[[], str]] = {
    "example-fastapi": _passage("fastapi/app.py"),
    "example-flask": _passage("flask/app.py"),
    "example-express": _passage("express/server.js"),
    "example-player": _passage("page/player.js"),
}
