"""Signing in process, one contender after another on one core: the cost of the signature and the library around it.

Invariants
- All contenders create whole tokens of the same claims with the same key, parsed once except in "PyJWT with PEM text".
  Only raw AWS-LC signs just a digest: the upper bound.
- Node and Go measure themselves in their own processes while nothing else of the benchmark runs.
- The last token of every measurement is verified, after the clock was read.
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
from benchmarks.peers.processes import SigningMeasurement, run_signing_process
from benchmarks.peers.verification import InvalidToken, verify_token
from benchmarks.rounds import Spread

LIBRARIES = {"Node, jose": "jose", "Node, jsonwebtoken": "jsonwebtoken", "Node, fast-jwt": "fast-jwt"}
GO = "Go, crypto/ecdsa"
WARM_UP_SECONDS = 0.5
Contenders = dict[str, Callable[[float], SigningMeasurement]]


def measure(
    key: ec.EllipticCurvePrivateKey, go: Path | str, environ: Mapping[str, str], round_count: int, seconds: float
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Ratios and figures of the available contenders, with measurements of `seconds`."""
    with _contenders(key, go, environ) as contenders, servers.on_server_core():
        verified = {name: partial(_measure_verified, name, run, key) for name, run in contenders.items()}
        for run in verified.values():
            run(WARM_UP_SECONDS)
        results = rounds.interleave({name: partial(run, seconds) for name, run in verified.items()}, round_count)
    ratios = rounds.ratios_to_others(results, "in process", "by CPU time")
    figures = {
        f"in process, {name}, per second": median(one.per_second for one in measured)
        for name, measured in results.items()
    }
    return ratios, figures


def go_program(folder: Path) -> Path | str:
    """Build Go's contender in this folder with the installed Go and no other; if that is impossible, the reason."""
    if (reason := unavailable.go()) is not None:
        return reason
    program = folder / "ecdsa"
    command = [str(shutil.which("go")), "build", "-o", str(program), "."]
    environ = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    built = subprocess.run(command, cwd=unavailable.GO_FOLDER, env=environ, capture_output=True, text=True, check=False)
    return f"its program cannot be built: {built.stderr.strip()}" if built.returncode else program


def skipped(go: Path | str) -> dict[str, str]:
    """The skipped contenders and the reasons."""
    reason = unavailable.node()
    missing = {} if reason is None else dict.fromkeys(LIBRARIES, reason)
    return missing if isinstance(go, Path) else missing | {GO: go}


@contextmanager
def _contenders(key: ec.EllipticCurvePrivateKey, go: Path | str, environ: Mapping[str, str]) -> Iterator[Contenders]:
    contenders: Contenders = {name: partial(_measure_in_process, call) for name, call in sign.contenders(key).items()}
    arguments = [sign.CHANNEL, sign.VIEWER]
    with ExitStack() as running:
        if unavailable.node() is None:
            command = ["node", str(unavailable.NODE_FOLDER / "measure.mjs"), *arguments]
            node = running.enter_context(run_signing_process(command, environ))
            contenders |= {name: partial(node.sign, library) for name, library in LIBRARIES.items()}
        if isinstance(go, Path):
            command = [str(go), *arguments]
            program = running.enter_context(run_signing_process(command, {**environ, "GOMAXPROCS": "1"}))
            contenders[GO] = partial(program.sign, "ecdsa")
        yield contenders


def _measure_in_process(call: Callable[[], object], seconds: float) -> SigningMeasurement:
    """Measure a contender that runs in this process."""
    calls, token = 0, call()
    used, started = time.process_time(), time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            token = call()
        calls += 20
    took, used = time.perf_counter() - started, time.process_time() - used
    return SigningMeasurement(calls / took, used / calls * 1e6, token if isinstance(token, str) else "")


def _measure_verified(
    name: str, run: Callable[[float], SigningMeasurement], key: ec.EllipticCurvePrivateKey, seconds: float
) -> SigningMeasurement:
    measurement = run(seconds)
    if name != sign.RAW:
        try:
            verify_token(measurement.token, [key.public_key()], sign.CHANNEL, sign.VIEWER)
        except InvalidToken as error:
            raise SystemExit(f"{name} creates invalid tokens: {error}") from None
    return measurement
