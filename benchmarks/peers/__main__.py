"""All peers in one run: `python -m benchmarks.peers [--json] [--rounds 9] [--seconds 1]`.

Invariants
- Servers and signers run on one core and the clients on another; all are measured in interleaved rounds.
- A peer that is not installed is skipped and reported with the reason; the run continues with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks import ivs
from benchmarks.peers import in_process, over_http, unavailable
from benchmarks.peers.key import API_KEY, KEY_FILE_VARIABLE
from benchmarks.report import report
from benchmarks.rounds import Spread
from benchmarks.sign import RAW
from benchmarks.signer import IS_MULTIBUFFER, SIGNER
from benchmarks.signer import skipped as skipped_targets
from tokensvc.jose import keypair

ROUNDS = 9
SECONDS = 1
SHARE_IN_PROCESS = 0.3
"""Length of a measurement in process relative to one over HTTP: signing needs no connections and varies less."""
IVS_ROUNDS = 5
TARGETS = {
    f"in process, tokensvc / {RAW}": 0.88,
    f"HTTP, tokensvc / {over_http.BARE}": 2.0 if IS_MULTIBUFFER else 0.88,
    f"HTTP, tokensvc / {over_http.NAIVE}": 8.0 if IS_MULTIBUFFER else 4.0,
    "HTTP, tokensvc / fastest Node peer": 12.0 if IS_MULTIBUFFER else 4.0,
    "local IVS, both alternating, tokensvc / moto": 5.0,
}


def main() -> None:
    options = _options()
    ratios: dict[str, Spread] = {}
    figures: dict[str, Any] = {"signer of tokensvc over HTTP": SIGNER}
    with tempfile.TemporaryDirectory() as name:
        folder, key = Path(name), keypair.generate()
        go = in_process.go_program(folder)
        skipped = over_http.skipped() | in_process.skipped(go)
        skipped |= skipped_targets("targets for the multi-buffer signer")
        path = folder / "peers.pem"
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        environ = os.environ | {KEY_FILE_VARIABLE: str(path), "BENCHMARK_API_KEY": API_KEY, "NODE_ENV": "production"}
        if unavailable.wrk() is None:
            measured, measured_figures = over_http.measure(key, folder, environ, options.rounds, options.seconds)
            ratios |= _with_fastest(measured)
            figures |= measured_figures
        measured, measured_figures = in_process.measure(
            key, go, environ, options.rounds, options.seconds * SHARE_IN_PROCESS
        )
        ratios |= measured
        figures |= measured_figures
    if (reason := unavailable.moto()) is not None:
        skipped["moto and the local IVS"] = reason
    else:
        measured, measured_figures = ivs.measure(min(options.rounds, IVS_ROUNDS), options.seconds)
        ratios |= {f"local IVS, {label}": ratio for label, ratio in measured.items()}
        figures |= {f"local IVS, {label}": figure for label, figure in measured_figures.items()}
    report("tokensvc and its peers", ratios, figures, TARGETS, skipped=skipped, others=_versions())


def _with_fastest(ratios: dict[str, Spread]) -> dict[str, Spread]:
    """The ratios, preceded by those to the fastest Node peer."""
    fastest = {}
    for by in ("", ", by server CPU"):
        names = [f"HTTP, tokensvc / {name}{by}" for name in over_http.FASTIFY]
        if of_node := [ratios[name] for name in names if name in ratios]:
            fastest[f"HTTP, tokensvc / fastest Node peer{by}"] = min(of_node)
    return fastest | ratios


def _versions() -> dict[str, str]:
    """Versions of the installed peers that are not Python packages."""
    found = {}
    if unavailable.node() is None:
        found["node"] = _output_of("node", "--version").removeprefix("v")
        lock = json.loads((unavailable.NODE_FOLDER / "package-lock.json").read_text())["packages"]
        found |= {name: lock[f"node_modules/{name}"]["version"] for name in lock[""]["dependencies"]}
    if unavailable.go() is None:
        found["go"] = _output_of("go", "env", "GOVERSION").removeprefix("go")
    return found


def _output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare tokensvc with its peers in one run."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--rounds", type=_positive, default=ROUNDS, help="measurements per peer (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_positive, default=SECONDS, help="length of a measurement over HTTP (default: %(default)s)"
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
