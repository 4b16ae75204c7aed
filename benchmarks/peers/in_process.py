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

from benchmarks import rounds as turns
from benchmarks import servers, sign
from benchmarks.peers import unavailable
from benchmarks.peers.processes import Child, Signed, child
from benchmarks.peers.verification import Wrong, judge
from benchmarks.rounds import Spread

LIBRARIES = {"Node, jose": "jose", "Node, jsonwebtoken": "jsonwebtoken", "Node, fast-jwt": "fast-jwt"}
GO = "Go, crypto/ecdsa"
WARM_UP_SECONDS = 0.5
Turns = dict[str, Callable[[float], Signed]]


def measure(
    key: ec.EllipticCurvePrivateKey, go: Path | str, environ: Mapping[str, str], rounds: int, seconds: float
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Ratios and figures of those who are here, each turn so long."""
    with _contenders(key, go, environ) as contenders, servers.on_servers_core():
        judged = {name: partial(_judged, name, take, key) for name, take in contenders.items()}
        for take in judged.values():
            take(WARM_UP_SECONDS)
        taken = turns.by_turns({name: partial(take, seconds) for name, take in judged.items()}, rounds)
    ratios = turns.ours_beside(taken, "in process", "by CPU")
    figures = {f"in process, {name}, per second": median(one.per_second for one in t) for name, t in taken.items()}
    return ratios, figures


def go_program(folder: Path) -> Path | str:
    """Go's contender, made in that folder by the Go that is here and by no other; as text, why it cannot take part."""
    if (why := unavailable.go()) is not None:
        return why
    program = folder / "ecdsa"
    command = [str(shutil.which("go")), "build", "-o", str(program), "."]
    environ = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    built = subprocess.run(command, cwd=unavailable.GO_FOLDER, env=environ, capture_output=True, text=True, check=False)
    return f"its program does not build: {built.stderr.strip()}" if built.returncode else program


def left_out(go: Path | str) -> dict[str, str]:
    """Who is not here, and why."""
    why = unavailable.node()
    missing = {} if why is None else dict.fromkeys(LIBRARIES, why)
    return missing if isinstance(go, Path) else missing | {GO: go}


@contextmanager
def _contenders(key: ec.EllipticCurvePrivateKey, go: Path | str, environ: Mapping[str, str]) -> Iterator[Turns]:
    contest: Turns = {name: partial(_here, call) for name, call in sign.contenders(key).items()}
    asked = [sign.CHANNEL, sign.VIEWER]
    with ExitStack() as running:
        if unavailable.node() is None:
            node = running.enter_context(child(["node", str(unavailable.NODE_FOLDER / "measure.mjs"), *asked], environ))
            contest |= {name: partial(_of_child, node, library) for name, library in LIBRARIES.items()}
        if isinstance(go, Path):
            program = running.enter_context(child([str(go), *asked], {**environ, "GOMAXPROCS": "1"}))
            contest[GO] = partial(_of_child, program, "ecdsa")
        yield contest


def _here(call: Callable[[], object], seconds: float) -> Signed:
    """A turn of a contender that runs in this process."""
    calls, made = 0, call()
    used, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(20):
            made = call()
        calls += 20
    took, used = time.perf_counter() - began, time.process_time() - used
    return Signed(calls / took, used / calls * 1e6, made if isinstance(made, str) else "")


def _of_child(process: Child, library: str, seconds: float) -> Signed:
    return process.sign(library, seconds)


def _judged(name: str, take: Callable[[float], Signed], key: ec.EllipticCurvePrivateKey, seconds: float) -> Signed:
    taken = take(seconds)
    if name != sign.RAW:
        try:
            judge(taken.token, [key.public_key()], sign.CHANNEL, sign.VIEWER)
        except Wrong as wrong:
            raise SystemExit(f"{name} makes tokens that are wrong: {wrong}") from None
    return taken
