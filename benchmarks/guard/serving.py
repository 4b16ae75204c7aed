"""CPU time of the server per token over HTTP, compared with the bare app and with a raw signature.

Invariants
- The service runs with everything on, once with each signer. The CPU time of its process, user and system, is read
  before and after a measurement.
- Rates are not checked: they depend on how much of a core was available at the time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import rounds, servers, wrk
from benchmarks.peers.key import API_KEY
from benchmarks.peers.unavailable import wrk as wrk_absent
from benchmarks.rounds import Spread
from benchmarks.server_measurement import Contender, ServerMeasurement, measure_server
from benchmarks.sign import CHANNEL, RAW, VIEWER, contenders, cpu_us
from tokensvc.errors import SettingsError
from tokensvc.jose.signing.choice import choose_signer

SINGLE = "server CPU time, token over HTTP / bare app"
BATCHED = "server CPU time, token in a batch of 100 / signature"
ROUNDS = 9
SECONDS = 1
BATCH = 100
SIGNATURES = 3000
TOKEN_REQUEST = {"channelArn": CHANNEL, "viewerId": VIEWER}


def ratios_of(signer: str) -> tuple[str, str]:
    """The names of the ratios with this signer."""
    return f"{SINGLE}, {signer}", f"{BATCHED}, {signer}"


def unavailable_reason(signer: str) -> str | None:
    """Why this signer cannot be measured here; None if it can."""
    if (reason := wrk_absent()) is not None:
        return reason
    try:
        choose_signer(signer)
    except SettingsError as error:
        return error.message
    return None


def measure(signer: str) -> tuple[dict[str, Spread], dict[str, float]]:
    """Ratios with this signer and the figures behind them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.deployed_service(folder, {"TOKENSVC_SIGNER": signer}) as service, servers.run_peer("bare") as bare:
            single = wrk.script(folder, "single", TOKEN_REQUEST, _headers(service.api_key))
            plain = wrk.script(folder, "plain", TOKEN_REQUEST, _headers(API_KEY))
            batch = wrk.script(folder, "batch", {"requests": [TOKEN_REQUEST] * BATCH}, _headers(service.api_key))
            requests = {
                "tokensvc": Contender(single, f"{service.url}/v1/tokens", service.pid),
                "bare": Contender(plain, bare.url, bare.pid),
                "batch": Contender(batch, f"{service.url}/v1/tokens/batch", service.pid, connections=4, tokens=BATCH),
            }
            measurements: dict[str, Callable[[], ServerMeasurement]] = {RAW: _sign}
            measurements |= {name: partial(measure_server, one, SECONDS) for name, one in requests.items()}
            results = rounds.interleave(measurements, ROUNDS)
    cpu = {name: [one.cpu_us for one in measured] for name, measured in results.items()}
    over_http, in_batch = ratios_of(signer)
    ratios = {over_http: rounds.ratio(cpu["tokensvc"], cpu["bare"]), in_batch: rounds.ratio(cpu["batch"], cpu[RAW])}
    return ratios, {f"over HTTP, {signer}: {name}, CPU microseconds": median(values) for name, values in cpu.items()}


def _sign() -> ServerMeasurement:
    with servers.on_server_core():
        cpu = cpu_us(contenders()[RAW], SIGNATURES)
    return ServerMeasurement(1e6 / cpu, cpu)


def _headers(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
