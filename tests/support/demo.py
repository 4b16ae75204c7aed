"""`tokensvc demo` for tests: a process of its own, in an empty folder, on a free port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import TOKENSVC, Process, environment, started


class Demo(NamedTuple):
    """A running demo."""

    folder: Path
    process: Process
    info: dict[str, str]


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[Demo]:
    """A demo that has printed its commands. It runs while the block runs."""
    command = [TOKENSVC, "demo", "--port", "0", *options]
    with started(command, folder, environment(folder / "home"), "demo") as process:
        process.wait_until(lambda: "keys rotate" in process.out, "the demo prints its commands")
        yield Demo(folder, process, json.loads((folder / ".demo" / "demo.json").read_text()))
