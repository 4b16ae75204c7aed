"""Files that say how to reach what runs: complete or absent, readable by their owner alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_connection_info(path: Path, facts: Mapping[str, str]) -> None:
    """Write facts as JSON, in one step."""
    write_private_file(path, json.dumps(facts, indent=2).encode() + b"\n")


def write_private_file(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old one or the new one, never half."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)
