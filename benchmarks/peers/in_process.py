"""Signing alone, one contender after another on one core: what the signature and the library around it cost.

Rules of the file
- Everyone makes whole tokens of the same claims with the same key, parsed once but for "PyJWT with PEM text"; only raw
  AWS-LC signs a digest and no more: the ceiling.
- Node and Go measure themselves, in processes of their own, while nothing else of ours runs.
- Every turn's last token is judged, after the turn's clock was read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import rounds, servers, sign
from benchmarks.peers import unavailable
from benchmarks.peers.processes import SigningMeasurement, SigningProcess, run_signing_process
from benchmarks.peers.verification import InvalidToken, verify_token
from benchmarks.rounds import Spread

LIBRARIES = {"Node, jose": "jose", "Node, jsonwebtoken": "jsonwebtoken", "Node, fast-jwt": "fast-jwt"}
GO = "Go, crypto/ecdsa"
WARM_UP_SECONDS = 0.5
Turns = dict[str, Callable[[float], SigningMeasurement]]


def measure(
    key: ec.EllipticCurvePrivateKey, go: Path | str, environ: Mapping[str, str], round_count: int, seconds: float
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Ratios and figures of those who are here, each turn so long."""
    with _contenders(key, go, environ) as contenders, servers.on_server_core():
        verified = {name: partial(_measure_verified, name, measure_for, key) for name, measure_for in contenders.items()}
        for measure_for in verified.values():
            measure_for(WARM_UP_SECONDS)
        results = rounds.interleave({name: partial(measure_for, seconds) for name, measure_for in verified.items()}, round_count)
    ratios = rounds.ratios_to_others(results, "in process", "by CPU")
    figures = {f"in process, {name}, per second": median(one.per_second for one in t) for name, t in results.items()}
    return ratios, figures


def go_program(folder: Path) -> Path | str:
    """Go's contender, made in that folder by the Go that is here and by no other; as text, why it cannot take part."""
    if (reason := unavailable.go()) is not None:
        return reason
    program = folder / "ecdsa"
    command = [str(shutil.which("go")), "build", "-o", str(program), "."]
    environ = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    built = subprocess.run(command, cwd=unavailable.GO_FOLDER, env=environ, capture_output=True, text=True, check=False)
    return f"its program does not build: {built.stderr.strip()}" if built.returncode else program


def skipped(go: Path | str) -> dict[str, str]:
    """Who is not here, and why."""
    reason = unavailable.node()
    missing = {} if reason is None else dict.fromkeys(LIBRARIES, reason)
    return missing if isinstance(go, Path) else missing | {GO: go}


@contextmanager
def _contenders(key: ec.EllipticCurvePrivateKey, go: Path | str, environ: Mapping[str, str]) -> Iterator[Turns]:
    measurements: Turns = {name: partial(_measure_in_process, call) for name, call in sign.contenders(key).items()}
    asked = [sign.CHANNEL, sign.VIEWER]
    with ExitStack() as running:
        if unavailable.node() is None:
            node = running.enter_context(run_signing_process(["node", str(unavailable.NODE_FOLDER / "measure.mjs"), *asked], environ))
            measurements |= {name: partial(_of_child, node, library) for name, library in LIBRARIES.items()}
        if isinstance(go, Path):
            program = running.enter_context(run_signing_process([str(go), *asked], {**environ, "GOMAXPROCS": "1"}))
            measurements[GO] = partial(_of_child, program, "ecdsa")
        yield measurements


def _measure_in_process(call: Callable[[], object], seconds: float) -> SigningMeasurement:
    """A turn of a contender that runs in this process."""
    calls, made = 0, call()
    used, started = time.process_time(), time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            made = call()
        calls += 20
    took, used = time.perf_counter() - started, time.process_time() - used
    return SigningMeasurement(calls / took, used / calls * 1e6, made if isinstance(made, str) else "")


def _of_child(process: SigningProcess, library: str, seconds: float) -> SigningMeasurement:
    return process.sign(library, seconds)


def _measure_verified(name: str, measure_for: Callable[[float], SigningMeasurement], key: ec.EllipticCurvePrivateKey, seconds: float) -> SigningMeasurement:
    results = measure_for(seconds)
    if name != sign.RAW:
        try:
            verify_token(results.token, [key.public_key()], sign.CHANNEL, sign.VIEWER)
        except InvalidToken as wrong:
            raise SystemExit(f"{name} makes tokens that are wrong: {wrong}") from None
    return results
