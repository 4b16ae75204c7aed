"""A token over HTTP, beside a bare server and beside what people write: `python -m benchmarks.http [--json]`.

Rules of the file
- All servers stand on one core and take turns; wrk loads them from the other. Every answer must be a success.
- A single token's p99 while batches run is measured by a client of its own, one request after another.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from benchmarks import rounds as turns
from benchmarks import servers, wrk
from benchmarks.peers.key import API_KEY
from benchmarks.report import report
from benchmarks.server_measurement import CONNECTIONS, Contender, Turn, turn
from benchmarks.sign import RAW, cpu_us, rate
from benchmarks.sign import contenders as signing_contenders
from benchmarks.signer import IS_MULTIBUFFER, SIGNER, WITH_AWS_LC, left_out

ROUNDS = 5
SECONDS = 3
BATCH = 100
RAW_SIGNATURES = 2000
SOAK_TOKENS = 100_000
TRACES = 1000
"""Requests that differ in their heads, one after another."""
TARGETS = {
    "ours with AWS-LC / bare app that only signs": 0.88,
    "ours with AWS-LC, batch of 100, tokens / raw AWS-LC sign": 0.85,
} | (
    {
        "ours / bare app that only signs, by server CPU": 2.0,
        "ours / Starlette + PyJWT with PEM, by server CPU": 8.0,
        "batch of 100, tokens / raw AWS-LC sign": 2.6,
    }
    if IS_MULTIBUFFER
    else {
        "ours / bare app that only signs": 0.88,
        "ours without access line / bare app that only signs": 0.93,
        "ours / Starlette + PyJWT with PEM": 4.0,
        "batch of 100, tokens / raw AWS-LC sign": 0.85,
    }
)
ASK = {"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"}


def main() -> None:
    wrk.needed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name_ in ("quiet", "aws-lc"):
            (folder / name_).mkdir()
        with (
            servers.ours(folder) as ours,
            servers.ours(folder / "quiet", {"TOKENSVC_ACCESS_LOG": "false"}) as quiet,
            servers.ours(folder / "aws-lc", WITH_AWS_LC) as aws_lc,
            servers.peer("bare") as bare,
            servers.peer("naive") as naive,
        ):
            _measure(folder, ours, quiet, aws_lc, bare, naive)


def _measure(
    folder: Path,
    ours: servers.Ours,
    quiet: servers.Ours,
    aws_lc: servers.Ours,
    bare: servers.Peer,
    naive: servers.Peer,
) -> None:
    json_body = {"content-type": "application/json"}
    bearer = json_body | {"authorization": f"Bearer {ours.api_key}"}
    single = wrk.script(folder, "single", ASK, bearer)
    batch = wrk.script(folder, "batch", {"requests": [ASK] * BATCH}, bearer)
    asks = [wrk.Post("/v1/tokens", json.dumps(ASK), bearer | wrk.trace(number)) for number in range(TRACES)]
    traced = wrk.turns_script(folder, "traced", asks)
    unlogged = wrk.script(folder, "unlogged", ASK, json_body | {"authorization": f"Bearer {quiet.api_key}"})
    bearer_of_aws_lc = json_body | {"authorization": f"Bearer {aws_lc.api_key}"}
    single_aws_lc = wrk.script(folder, "single-aws-lc", ASK, bearer_of_aws_lc)
    batch_aws_lc = wrk.script(folder, "batch-aws-lc", {"requests": [ASK] * BATCH}, bearer_of_aws_lc)
    plain = wrk.script(folder, "naive", ASK, json_body | {"authorization": f"Bearer {API_KEY}"})
    contenders = {
        "ours": Contender(single, f"{ours.url}/v1/tokens", ours.pid),
        "traced": Contender(traced, f"{ours.url}/v1/tokens", ours.pid),
        "quiet": Contender(unlogged, f"{quiet.url}/v1/tokens", quiet.pid),
        "aws-lc": Contender(single_aws_lc, f"{aws_lc.url}/v1/tokens", aws_lc.pid),
        "aws-lc batch": Contender(
            batch_aws_lc, f"{aws_lc.url}/v1/tokens/batch", aws_lc.pid, connections=4, tokens=BATCH
        ),
        "bare": Contender(single, bare.url, bare.pid),
        "naive": Contender(plain, f"{naive.url}/v1/tokens", naive.pid),
        "batch": Contender(batch, f"{ours.url}/v1/tokens/batch", ours.pid, connections=4, tokens=BATCH),
    }
    raw_sign = signing_contenders()[RAW]

    def sign() -> Turn:
        with servers.on_servers_core():
            return Turn(rate(raw_sign, 1.0), cpu_us(raw_sign, RAW_SIGNATURES))

    contest: dict[str, Callable[[], Turn]] = {name: partial(turn, one, SECONDS) for name, one in contenders.items()}
    rounds = turns.by_turns({**contest, "raw": sign}, ROUNDS)
    alone = single_p99(ours)
    beside = _beside(lambda: wrk.run(batch, f"{ours.url}/v1/tokens/batch", seconds=6, connections=4), ours)
    memory = _soak(single, ours)
    rates = {name: [one.per_second for one in taken] for name, taken in rounds.items()}
    cpu = {name: [one.cpu_us for one in taken] for name, taken in rounds.items()}
    ratios: dict[str, float | turns.Spread] = {
        "ours / bare app that only signs": turns.ratio(rates["ours"], rates["bare"]),
        "ours / bare app that only signs, by server CPU": turns.ratio(cpu["bare"], cpu["ours"]),
        "ours, no head like the last / bare app that only signs": turns.ratio(rates["traced"], rates["bare"]),
        "ours without access line / bare app that only signs": turns.ratio(rates["quiet"], rates["bare"]),
        "ours without access line / bare app, by server CPU": turns.ratio(cpu["bare"], cpu["quiet"]),
        "ours / Starlette + PyJWT with PEM": turns.ratio(rates["ours"], rates["naive"]),
        "ours / Starlette + PyJWT with PEM, by server CPU": turns.ratio(cpu["naive"], cpu["ours"]),
        "batch of 100, tokens / raw AWS-LC sign": turns.ratio(rates["batch"], rates["raw"]),
        "batch of 100, raw AWS-LC sign's CPU time / a token's": turns.ratio(cpu["raw"], cpu["batch"]),
        "ours with AWS-LC / bare app that only signs": turns.ratio(rates["aws-lc"], rates["bare"]),
        "ours with AWS-LC / bare app that only signs, by server CPU": turns.ratio(cpu["bare"], cpu["aws-lc"]),
        "ours with AWS-LC, batch of 100, tokens / raw AWS-LC sign": turns.ratio(rates["aws-lc batch"], rates["raw"]),
        "memory after 100,000 more tokens / before": memory[1] / memory[0],
    }
    figures: dict[str, Any] = {
        "ours is signed by": SIGNER,
        "ours, tokens per second": median(rates["ours"]),
        "bare, per second": median(rates["bare"]),
        "Starlette + PyJWT, tokens per second": median(rates["naive"]),
        "batch of 100, tokens per second": median(rates["batch"]),
        "raw AWS-LC sign, per second": median(rates["raw"]),
        "ours, CPU microseconds a token": median(cpu["ours"]),
        "bare, CPU microseconds a token": median(cpu["bare"]),
        "Starlette + PyJWT, CPU microseconds a token": median(cpu["naive"]),
        "batch of 100, CPU microseconds a token": median(cpu["batch"]),
        "single token p99 alone, ms": alone,
        "single token p99 while batches run, ms": beside,
        "worker's memory before, MiB": memory[0] / 1024,
        "worker's memory after, MiB": memory[1] / 1024,
    }
    report("tokens over HTTP", ratios, figures, TARGETS, left_out=left_out("targets for the multi-buffer signer"))


def single_p99(ours: servers.Ours, seconds: float = 5) -> float:
    """One client, one request after another."""
    address = urlsplit(ours.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    body, headers = json.dumps(ASK), {"authorization": f"Bearer {ours.api_key}"}
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.request("POST", "/v1/tokens", body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != 201:
            raise SystemExit(f"a single token was answered {answer.status}")
    connection.close()
    return quantiles(took, n=100)[98]


def _beside(load: Any, ours: servers.Ours) -> float:
    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(0.5)  # until the batches are under way
    p99 = single_p99(ours)
    thread.join()
    return p99


def _soak(single: Path, ours: servers.Ours) -> tuple[int, int]:
    """The worker's memory in KiB, before and after that many more tokens."""
    before = memory_kib(ours.pid)
    made = 0.0
    while made < SOAK_TOKENS:
        made += 5 * wrk.run(single, f"{ours.url}/v1/tokens", seconds=5, connections=CONNECTIONS).per_second
    return before, memory_kib(ours.pid)


def memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


if __name__ == "__main__":
    main()
