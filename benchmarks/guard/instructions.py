"""Instructions per token, counted by callgrind: the same on a busy machine as on a quiet one.

Invariants
- One run counts all parts, one after another; the start of the interpreter is ignored.
- The signature is nine tenths of the instructions and not ours to change, so what tokensvc adds to it is checked.
- A count is not time: waiting and cache misses show only in CPU time. It reveals code that was added to the hot path.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import servers
from benchmarks.guard.callgrind_target import API_KEY_VARIABLE, MARK, PARTS
from benchmarks.rounds import Spread, spread

RATIOS = {
    "instructions added by a token in process / signature": "token",
    "instructions added by a request / signature": "request",
    "instructions added by a request with changed headers / signature": "changed headers",
    "instructions added by a token in a batch of 100 / signature": "batch",
}


def unavailable_reason() -> str | None:
    """Why instructions cannot be counted here; None if they can."""
    return (
        None if shutil.which("valgrind") else "valgrind is not installed; `make system-packages` installs it (Debian)"
    )


def measure() -> tuple[dict[str, Spread], dict[str, float]]:
    """Ratios and figures. A ratio of two counts has no spread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ, api_key = servers.create_deployment(folder)
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/count"]
        command += [f"--dump-before={MARK}", sys.executable, "-m", "benchmarks.guard.callgrind_target"]
        environ |= {API_KEY_VARIABLE: api_key, "PYTHONHASHSEED": "0"}
        counted = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if counted.returncode:
            raise SystemExit(f"the run under callgrind failed:\n{counted.stdout}{counted.stderr}")
        dumps = {int(path.suffix[1:]): path.read_text() for path in folder.glob("count.*")}
    each = per_token(dumps)
    signature = each["signature"]
    ratios = {ratio: spread([(each[part] - signature) / signature]) for ratio, part in RATIOS.items()}
    return ratios, {f"instructions, {part}": count for part, count in each.items()}


def per_token(dumps: dict[int, str]) -> dict[str, float]:
    """Instructions per token of each part, from callgrind's dumps by number.

    A dump ends at a mark. The first contains the start; then dumps of parts and dumps between parts alternate.
    """
    if len(dumps) != 2 * len(PARTS):
        raise SystemExit(f"callgrind found {len(dumps)} marks, not {2 * len(PARTS)}: is {MARK} not a function here?")
    return {
        part: _instructions(dumps[2 * number]) / tokens for number, (part, tokens) in enumerate(PARTS.items(), start=1)
    }


def _instructions(dump: str) -> int:
    total = re.search(r"^totals: (\d+)$", dump, re.MULTILINE)
    if total is None:
        raise SystemExit("unexpected output of callgrind: no total")
    return int(total[1])
