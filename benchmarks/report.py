"""How a benchmark reports: figures, ratios first, and the machine they were made on.

Rules of the file
- One run, one object. Ratios are the result; figures are there to see what they came from.
- These machines are noisy: rounds are interleaved, and of each contender the median round counts.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("awscrt", "cryptography", "pyjwt", "starlette", "uvicorn", "orjson", "pydantic", "tokensvc")


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")), "unknown"
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "packages": {name: version(name) for name in PACKAGES},
    }


def report(name: str, ratios: Mapping[str, float], figures: Mapping[str, Any], targets: Mapping[str, float]) -> None:
    """Print the result: one JSON object with `--json`, else a table."""
    if "--json" in sys.argv:
        result = {"benchmark": name, "ratios": ratios, "figures": figures, "targets": targets, "machine": machine()}
        print(json.dumps(result, indent=2))
        return
    print(f"{name}, on {machine()['cpu']}, {os.cpu_count()} cores\n")
    for what, ratio in ratios.items():
        target = f"   (wanted: {targets[what]})" if what in targets else ""
        print(f"  {what:<56} {ratio:7.2f}{target}")
    print()
    for what, figure in figures.items():
        print(f"  {what:<56} {figure:>12,.1f}" if isinstance(figure, float) else f"  {what:<56} {figure:>12}")


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
