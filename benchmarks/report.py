"""How a benchmark reports: ratios first, then figures, what was skipped, and the machine.

Invariants
- One run is one object. Ratios are the result; figures show where they come from.
- These machines are noisy: rounds are interleaved, the median of the rounds counts, and the minimum and maximum of a
  ratio are reported as well.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.rounds import Spread

PACKAGES = ("awscrt", "cryptography", "pyjwt", "starlette", "uvicorn", "orjson", "pydantic", "tokensvc")
NONE: Mapping[str, Any] = MappingProxyType({})


def machine() -> dict[str, Any]:
    """The machine and the software versions of a run."""
    return hardware() | versions()


def hardware() -> dict[str, Any]:
    """CPU, cores and operating system."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in _text("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}


def versions() -> dict[str, Any]:
    """Python and the packages that the figures depend on."""
    return {"python": platform.python_version(), "packages": {name: version(name) for name in PACKAGES}}


def report(
    name: str,
    ratios: Mapping[str, float | Spread],
    figures: Mapping[str, Any],
    targets: Mapping[str, float],
    *,
    skipped: Mapping[str, str] = NONE,
    others: Mapping[str, str] = NONE,
    target_label: str = "target",
) -> None:
    """Print the result: one JSON object with `--json`, else a table.

    `skipped` maps each skipped contender to the reason; `others` are versions of software other than Python packages;
    `target_label` is what the table calls a target.
    """
    if "--json" in sys.argv:
        print(json.dumps(_object(name, ratios, figures, targets, skipped, others), indent=2))
        return
    print(f"{name}, on {hardware()['cpu']}, {os.cpu_count()} cores\n")
    width = max(map(len, [*ratios, *figures]))
    for label, ratio in ratios.items():
        target = f"   ({target_label}: {targets[label]})" if label in targets else ""
        print(f"  {label:<{width}} {_shown(ratio)}{target}")
    print()
    for label, figure in figures.items():
        print(
            f"  {label:<{width}} {figure:>12,.1f}" if isinstance(figure, float) else f"  {label:<{width}} {figure:>12}"
        )
    for label, reason in skipped.items():
        print(f"\n  skipped: {label}: {reason}", end="")
    print(end="\n" if skipped else "")


def _object(
    name: str,
    ratios: Mapping[str, float | Spread],
    figures: Mapping[str, Any],
    targets: Mapping[str, float],
    skipped: Mapping[str, str],
    others: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "benchmark": name,
        "ratios": {label: ratio.median if isinstance(ratio, Spread) else ratio for label, ratio in ratios.items()},
        "spread": {
            label: [ratio.minimum, ratio.maximum] for label, ratio in ratios.items() if isinstance(ratio, Spread)
        },
        "figures": dict(figures),
        "targets": dict(targets),
        "skipped": dict(skipped),
        "versions": versions() | dict(others),
        "machine": hardware(),
    }


def _shown(ratio: float | Spread) -> str:
    if isinstance(ratio, Spread):
        return f"{_number(ratio.median):>7}   {_number(ratio.minimum)} to {_number(ratio.maximum)}"
    return f"{_number(ratio):>7}"


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if abs(ratio) >= 1 else f"{ratio:.3f}"


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
