"""The backends of docs/examples, run as their page says, beside a demo."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.deployment import free_port
from tests.support.processes import environment, started

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
HLS = ROOT / "clients/js/node_modules/hls.js/dist/hls.mjs"
EXPRESS_IS_INSTALLED = (EXAMPLES / "express/node_modules/.package-lock.json").exists()
needs_express = pytest.mark.skipif(not EXPRESS_IS_INSTALLED, reason="Express is not installed: make test-long")

COMMANDS = {
    "fastapi": [sys.executable, "-m", "uvicorn", "app:app", "--port", "{port}"],
    "flask": [sys.executable, "-m", "flask", "run", "--port", "{port}"],
    "express": ["node", "server.js"],
}
EXAMPLE_NAMES = ["fastapi", "flask", pytest.param("express", marks=needs_express)]


class Backend(NamedTuple):
    """A running backend of an example."""

    url: str
    log: Path


def static_folder(folder: Path) -> Path:
    """The page with its player, as a backend serves it."""
    static = folder / "static"
    shutil.copytree(EXAMPLES / "page", static)
    shutil.copy(ROOT / "clients/js/index.js", static / "tokensvc-client.js")
    if HLS.exists():
        shutil.copy(HLS, static / "hls.mjs")
    return static


@contextmanager
def running_example(name: str, folder: Path, tokens_url: str, api_key: str, channel_arn: str) -> Iterator[Backend]:
    """An example in a folder of its own, with the settings that its page names."""
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    if name == "express":
        (folder / "node_modules").symlink_to(EXAMPLES / "express/node_modules")
    static_folder(folder)
    key_file = folder / "api-key"
    key_file.touch(mode=0o600)
    key_file.write_text(api_key + "\n")
    port = str(free_port())
    variables = {
        "TOKENS_URL": tokens_url,
        "TOKENS_API_KEY_FILE": str(key_file),
        "CHANNEL_ARN": channel_arn,
        "PAGE_ORIGIN": f"http://127.0.0.1:{port}",
        "PORT": port,
    }
    command = [word.format(port=port) for word in COMMANDS[name]]
    with started(command, folder, environment(folder / "home", variables), "backend") as process:
        process.wait_until(lambda: _accepts_connections(int(port)), f"{name} listens")
        yield Backend(f"http://127.0.0.1:{port}", folder / "backend.err")


def _accepts_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
