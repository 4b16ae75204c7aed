"""Files that tell other programs how to connect to a running server: complete or absent, readable by the owner only."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def write_connection_info(path: Path, info: Mapping[str, str]) -> None:
    """Write connection information as JSON, atomically."""
    write_private_file(path, json.dumps(info, indent=2).encode() + b"\n")


def create_private_file(path: Path, content: bytes) -> None:
    """Create a file of mode 0600 with this content, complete or not at all. Raises FileExistsError if there is one."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        os.link(unfinished, path)  # unlike a rename, it does not replace
    finally:
        unfinished.unlink(missing_ok=True)


def write_private_file(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 atomically: a reader sees the old content or the new, never a part."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)
