"""A token over HTTP, compared with a bare server and a typical implementation: `python -m benchmarks.http [--json]`.

Invariants
- All servers run on one core and are measured in interleaved rounds; wrk loads them from the other core. Every response
  must be a success.
- Policy, limits and audit are measured as a difference: a service with all three on, beside the same without.
- The p99 of a single token while batches run is measured by a separate client that sends one request after another.
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

from benchmarks import rounds, servers, wrk
from benchmarks.peers.key import API_KEY
from benchmarks.report import report
from benchmarks.server_measurement import CONNECTIONS, Contender, ServerMeasurement, measure_server
from benchmarks.sign import RAW, cpu_us, rate
from benchmarks.sign import contenders as signing_contenders
from benchmarks.signer import IS_MULTIBUFFER, SIGNER, WITH_AWS_LC, skipped
from benchmarks.strict_deployment import strict_service

ROUNDS = 5
SECONDS = 3
BATCH = 100
RAW_SIGNATURES = 2000
SOAK_TOKENS = 100_000
TRACES = 1000
"""Number of different requests; no two consecutive ones have the same headers."""
STRICT = "with policy, limits and audit on / without"
STRICT_ADDS = "added by policy, limits and audit, CPU microseconds per token"
TARGETS = {
    STRICT: 0.9,
    STRICT_ADDS: 10,
    "tokensvc with AWS-LC / bare app that only signs": 0.88,
    "tokensvc with AWS-LC, batch of 100, tokens / raw AWS-LC sign": 0.85,
} | (
    {
        "tokensvc / bare app that only signs, by server CPU": 2.0,
        "tokensvc / Starlette + PyJWT with PEM, by server CPU": 8.0,
        "batch of 100, tokens / raw AWS-LC sign": 2.6,
    }
    if IS_MULTIBUFFER
    else {
        "tokensvc / bare app that only signs": 0.88,
        "tokensvc without access log / bare app that only signs": 0.93,
        "tokensvc / Starlette + PyJWT with PEM": 4.0,
        "batch of 100, tokens / raw AWS-LC sign": 0.85,
    }
)
TOKEN_REQUEST = {"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"}


def main() -> None:
    wrk.require()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name_ in ("quiet", "aws-lc", "strict", "strict-unrecorded"):
            (folder / name_).mkdir()
        with (
            servers.deployed_service(folder) as service,
            servers.deployed_service(folder / "quiet", {"TOKENSVC_ACCESS_LOG": "false"}) as quiet,
            servers.deployed_service(folder / "aws-lc", WITH_AWS_LC) as aws_lc,
            strict_service(folder / "strict", audit_tokens=True) as strict,
            strict_service(folder / "strict-unrecorded", audit_tokens=False) as unrecorded,
            servers.run_peer("bare") as bare,
            servers.run_peer("naive") as naive,
        ):
            _measure_all(folder, service, quiet, aws_lc, {"strict": strict, "unrecorded": unrecorded}, bare, naive)


def _measure_all(
    folder: Path,
    service: servers.RunningService,
    quiet: servers.RunningService,
    aws_lc: servers.RunningService,
    strict: dict[str, servers.RunningService],
    bare: servers.Endpoint,
    naive: servers.Endpoint,
) -> None:
    json_body = {"content-type": "application/json"}
    bearer = json_body | {"authorization": f"Bearer {service.api_key}"}
    single = wrk.script(folder, "single", TOKEN_REQUEST, bearer)
    batch = wrk.script(folder, "batch", {"requests": [TOKEN_REQUEST] * BATCH}, bearer)
    body = json.dumps(TOKEN_REQUEST)
    posts = [wrk.Post("/v1/tokens", body, bearer | wrk.trace_header(number)) for number in range(TRACES)]
    traced = wrk.sequence_script(folder, "traced", posts)
    unlogged = wrk.script(folder, "unlogged", TOKEN_REQUEST, json_body | {"authorization": f"Bearer {quiet.api_key}"})
    bearer_of_aws_lc = json_body | {"authorization": f"Bearer {aws_lc.api_key}"}
    single_aws_lc = wrk.script(folder, "single-aws-lc", TOKEN_REQUEST, bearer_of_aws_lc)
    batch_aws_lc = wrk.script(folder, "batch-aws-lc", {"requests": [TOKEN_REQUEST] * BATCH}, bearer_of_aws_lc)
    plain = wrk.script(folder, "naive", TOKEN_REQUEST, json_body | {"authorization": f"Bearer {API_KEY}"})
    contenders = {
        "tokensvc": Contender(single, f"{service.url}/v1/tokens", service.pid),
        "traced": Contender(traced, f"{service.url}/v1/tokens", service.pid),
        "quiet": Contender(unlogged, f"{quiet.url}/v1/tokens", quiet.pid),
        "aws-lc": Contender(single_aws_lc, f"{aws_lc.url}/v1/tokens", aws_lc.pid),
        "aws-lc batch": Contender(
            batch_aws_lc, f"{aws_lc.url}/v1/tokens/batch", aws_lc.pid, connections=4, tokens=BATCH
        ),
        "bare": Contender(single, bare.url, bare.pid),
        "naive": Contender(plain, f"{naive.url}/v1/tokens", naive.pid),
        **{name: _strict_contender(folder, name, running) for name, running in strict.items()},
        "batch": Contender(batch, f"{service.url}/v1/tokens/batch", service.pid, connections=4, tokens=BATCH),
    }
    raw_sign = signing_contenders()[RAW]

    def sign() -> ServerMeasurement:
        with servers.on_server_core():
            return ServerMeasurement(rate(raw_sign, 1.0), cpu_us(raw_sign, RAW_SIGNATURES))

    measurements: dict[str, Callable[[], ServerMeasurement]] = {
        name: partial(measure_server, contender, SECONDS) for name, contender in contenders.items()
    }
    results = rounds.interleave({**measurements, "raw": sign}, ROUNDS)
    alone = single_p99(service)
    during_batches = _single_p99_during(
        lambda: wrk.run(batch, f"{service.url}/v1/tokens/batch", seconds=6, connections=4), service
    )
    memory = _soak(single, service)
    rates = {name: [one.per_second for one in measured] for name, measured in results.items()}
    cpu = {name: [one.cpu_us for one in measured] for name, measured in results.items()}
    ratios: dict[str, float | rounds.Spread] = {
        STRICT: rounds.ratio(rates["strict"], rates["tokensvc"]),
        STRICT_ADDS: rounds.difference(cpu["strict"], cpu["tokensvc"]),
        f"{STRICT_ADDS}, without records of tokens": rounds.difference(cpu["unrecorded"], cpu["tokensvc"]),
        "tokensvc / bare app that only signs": rounds.ratio(rates["tokensvc"], rates["bare"]),
        "tokensvc / bare app that only signs, by server CPU": rounds.ratio(cpu["bare"], cpu["tokensvc"]),
        "tokensvc, different headers in each request / bare app that only signs": rounds.ratio(
            rates["traced"], rates["bare"]
        ),
        "tokensvc without access log / bare app that only signs": rounds.ratio(rates["quiet"], rates["bare"]),
        "tokensvc without access log / bare app, by server CPU": rounds.ratio(cpu["bare"], cpu["quiet"]),
        "tokensvc / Starlette + PyJWT with PEM": rounds.ratio(rates["tokensvc"], rates["naive"]),
        "tokensvc / Starlette + PyJWT with PEM, by server CPU": rounds.ratio(cpu["naive"], cpu["tokensvc"]),
        "batch of 100, tokens / raw AWS-LC sign": rounds.ratio(rates["batch"], rates["raw"]),
        "batch of 100, CPU time of raw AWS-LC sign / of a token": rounds.ratio(cpu["raw"], cpu["batch"]),
        "tokensvc with AWS-LC / bare app that only signs": rounds.ratio(rates["aws-lc"], rates["bare"]),
        "tokensvc with AWS-LC / bare app that only signs, by server CPU": rounds.ratio(cpu["bare"], cpu["aws-lc"]),
        "tokensvc with AWS-LC, batch of 100, tokens / raw AWS-LC sign": rounds.ratio(
            rates["aws-lc batch"], rates["raw"]
        ),
        "worker memory after 100,000 more tokens / before": memory[1] / memory[0],
    }
    figures: dict[str, Any] = {
        "signer of tokensvc": SIGNER,
        "tokensvc, tokens per second": median(rates["tokensvc"]),
        "bare, per second": median(rates["bare"]),
        "Starlette + PyJWT, tokens per second": median(rates["naive"]),
        "batch of 100, tokens per second": median(rates["batch"]),
        "raw AWS-LC sign, per second": median(rates["raw"]),
        "tokensvc, CPU microseconds per token": median(cpu["tokensvc"]),
        "bare, CPU microseconds per token": median(cpu["bare"]),
        "Starlette + PyJWT, CPU microseconds per token": median(cpu["naive"]),
        "batch of 100, CPU microseconds per token": median(cpu["batch"]),
        "single token p99 alone, ms": alone,
        "single token p99 while batches run, ms": during_batches,
        "worker memory at start, MiB": memory[0] / 1024,
        "worker memory at end, MiB": memory[1] / 1024,
    }
    report("tokens over HTTP", ratios, figures, TARGETS, skipped=skipped("targets for the multi-buffer signer"))


def _strict_contender(folder: Path, name: str, running: servers.RunningService) -> Contender:
    headers = {"content-type": "application/json", "authorization": f"Bearer {running.api_key}"}
    return Contender(wrk.script(folder, name, TOKEN_REQUEST, headers), f"{running.url}/v1/tokens", running.pid)


def single_p99(service: servers.RunningService, seconds: float = 5) -> float:
    """The p99 in milliseconds of one client that sends one request after another."""
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    body, headers = json.dumps(TOKEN_REQUEST), {"authorization": f"Bearer {service.api_key}"}
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("POST", "/v1/tokens", body, headers)
        response = connection.getresponse()
        response.read()
        took.append((time.perf_counter() - started) * 1000)
        if response.status != 201:
            raise SystemExit(f"a single token request got status {response.status}")
    connection.close()
    return quantiles(took, n=100)[98]


def _single_p99_during(load: Any, service: servers.RunningService) -> float:
    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(0.5)  # until batches are in flight
    p99 = single_p99(service)
    thread.join()
    return p99


def _soak(single: Path, service: servers.RunningService) -> tuple[int, int]:
    """The worker's memory in KiB, before and after SOAK_TOKENS more tokens."""
    before = memory_kib(service.pid)
    issued = 0.0
    while issued < SOAK_TOKENS:
        issued += 5 * wrk.run(single, f"{service.url}/v1/tokens", seconds=5, connections=CONNECTIONS).per_second
    return before, memory_kib(service.pid)


def memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


if __name__ == "__main__":
    main()
