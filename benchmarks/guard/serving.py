"""CPU time of the server for a token over HTTP, beside the bare app's and beside a raw signature's.

Rules of the file
- The service runs with everything on, once with each signer. What its process used, user and system, is read before
  and after a turn.
- Rates are not judged: they tell how much of a core the machine's owner had to give at the time.
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
from benchmarks.server_measurement import Contender, Turn, turn
from benchmarks.sign import CHANNEL, RAW, VIEWER, contenders, cpu_us
from tokensvc.errors import SettingsError
from tokensvc.jose.signing.choice import choose_signer

SINGLE = "server CPU time, token over HTTP / bare app"
BATCHED = "server CPU time, token in a batch of 100 / signature"
ROUNDS = 9
SECONDS = 1
BATCH = 100
SIGNATURES = 3000
ASK = {"channelArn": CHANNEL, "viewerId": VIEWER}


def ratios_of(signer: str) -> tuple[str, str]:
    """The names of the ratios with this signer."""
    return f"{SINGLE}, {signer}", f"{BATCHED}, {signer}"


def absent(signer: str) -> str | None:
    """Why nothing can be measured with this signer here; None where it can."""
    if (why := wrk_absent()) is not None:
        return why
    try:
        choose_signer(signer)
    except SettingsError as lacking:
        return lacking.message
    return None


def measure(signer: str) -> tuple[dict[str, Spread], dict[str, float]]:
    """Ratios with this signer, and the figures that they are made of."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.ours(folder, {"TOKENSVC_SIGNER": signer}) as ours, servers.peer("bare") as bare:
            asking = wrk.script(folder, "single", ASK, _headers(ours.api_key))
            plain = wrk.script(folder, "plain", ASK, _headers(API_KEY))
            batch = wrk.script(folder, "batch", {"requests": [ASK] * BATCH}, _headers(ours.api_key))
            asked = {
                "ours": Contender(asking, f"{ours.url}/v1/tokens", ours.pid),
                "bare": Contender(plain, bare.url, bare.pid),
                "batch": Contender(batch, f"{ours.url}/v1/tokens/batch", ours.pid, connections=4, tokens=BATCH),
            }
            contest: dict[str, Callable[[], Turn]] = {RAW: _sign}
            contest |= {name: partial(turn, one, SECONDS) for name, one in asked.items()}
            taken = rounds.by_turns(contest, ROUNDS)
    cpu = {name: [one.cpu_us for one in taking] for name, taking in taken.items()}
    single, batched = ratios_of(signer)
    ratios = {single: rounds.ratio(cpu["ours"], cpu["bare"]), batched: rounds.ratio(cpu["batch"], cpu[RAW])}
    return ratios, {f"over HTTP, {signer}: {name}, CPU microseconds": median(values) for name, values in cpu.items()}


def _sign() -> Turn:
    with servers.on_servers_core():
        cpu = cpu_us(contenders()[RAW], SIGNATURES)
    return Turn(1e6 / cpu, cpu)


def _headers(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
