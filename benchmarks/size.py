"""How large the installed core is: `python -m benchmarks.size [--json] WHEEL`.

Invariants
- The wheel is installed with its dependencies at the locked versions into a fresh environment, and compiled as pip
  does. pip and setuptools themselves are not counted.
- Megabytes are 10^6 bytes that files occupy on the disk.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path

from benchmarks.report import report

ROOT = Path(__file__).parents[1]
LARGEST = 12
"""How many parts are named."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "core", with_pip=True)
        constraints = folder / "constraints.txt"
        locked = (ROOT / "requirements/run.txt").read_text().splitlines()
        constraints.write_text("\n".join(line.removesuffix("\\") for line in locked if "==" in line))
        python = str(folder / "core/bin/python")
        pip = [python, "-m", "pip", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-c", str(constraints), str(wheel)], check=True, stdout=sys.stderr)
        subprocess.run([*pip, "uninstall", "-q", "-y", "setuptools", "pip"], check=True, stdout=sys.stderr)
        [packages] = (folder / "core/lib").glob("python*/site-packages")
        parts = Counter({part.name: _megabytes(part) for part in packages.iterdir()})
    figures = {f"{part}, MB": size for part, size in parts.most_common(LARGEST)}
    report("installed size of the core", {}, {"all, MB": parts.total(), **figures}, {})


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
