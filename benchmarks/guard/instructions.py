"""Instructions for a token, counted by callgrind: the same on a busy machine as on a quiet one.

Rules of the file
- One run counts everything, part by part; the start of the interpreter is a part that nobody looks at.
- The signature is nine tenths of all and is not ours to change, so what is judged is what we add to it.
- A count is not time: what waits, or misses a cache, shows in CPU time only. It finds what was added to the path.
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
    "instructions a token in process adds / a signature": "token",
    "instructions a request adds / a signature": "request",
    "instructions a request with another head than the last adds / a signature": "new head",
    "instructions a token in a batch of 100 adds / a signature": "batch",
}


def unavailable_reason() -> str | None:
    """Why they cannot be counted here."""
    return (
        None if shutil.which("valgrind") else "valgrind is not installed; `make system-packages` installs it (Debian)"
    )


def measure() -> tuple[dict[str, Spread], dict[str, float]]:
    """Ratios and figures; each ratio is one count over another, so it has no spread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ, api_key = servers.create_deployment(folder)
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/count"]
        command += [f"--dump-before={MARK}", sys.executable, "-m", "benchmarks.guard.callgrind_target"]
        environ |= {API_KEY_VARIABLE: api_key, "PYTHONHASHSEED": "0"}
        counted = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if counted.returncode:
            raise SystemExit(f"callgrind's run failed:\n{counted.stdout}{counted.stderr}")
        dumps = {int(path.suffix[1:]): path.read_text() for path in folder.glob("count.*")}
    each = per_token(dumps)
    signature = each["signature"]
    ratios = {ratio: spread([(each[part] - signature) / signature]) for ratio, part in RATIOS.items()}
    return ratios, {f"instructions, {part}": count for part, count in each.items()}


def per_token(dumps: dict[int, str]) -> dict[str, float]:
    """Instructions for one token of each part, from callgrind's dumps by their number.

    A dump ends at a mark. The first holds the start; then dumps with what is counted and dumps between take turns.
    """
    if len(dumps) != 2 * len(PARTS):
        raise SystemExit(f"callgrind saw {len(dumps)} marks, not {2 * len(PARTS)}: is {MARK} not a function here?")
    return {
        part: _instructions(dumps[2 * number]) / tokens for number, (part, tokens) in enumerate(PARTS.items(), start=1)
    }


def _instructions(dump: str) -> int:
    found = re.search(r"^totals: (\d+)$", dump, re.MULTILINE)
    if found is None:
        raise SystemExit("callgrind wrote something else than expected")
    return int(found[1])
