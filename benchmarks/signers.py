"""The cost of a signature by the number of signatures per call: `python -m benchmarks.signers [--json]`.

Invariants
- One thread on the servers' core, measured by its CPU time per signature in interleaved rounds.
- The multi-buffer signer is measured as the service uses it: one signature in 64 is verified, at most 100 per second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha384
from statistics import median
from typing import Any

from benchmarks import rounds, servers
from benchmarks.report import report
from benchmarks.sign import RAW, contenders, cpu_us
from tokensvc.errors import SettingsError
from tokensvc.jose import keypair
from tokensvc.jose.signing.choice import choose_signer
from tokensvc.jose.signing.multibuffer import MIN_BATCH, VERIFY_FIRST

ROUNDS = 15
SIGNATURES = 480
"""Signatures per measurement: a multiple of every count below, for enough calls."""
COUNTS = (1, 2, 3, 4, 5, 6, 8, 16, 24)
TARGETS = {f"{RAW} / signature in a call of 8": 3.8}


def main() -> None:
    try:
        signer = choose_signer("multibuffer").signer
    except SettingsError as error:
        report("signatures", {}, {"signer": "aws-lc"}, {}, skipped={"the multi-buffer signer": error.message})
        return
    private_key = keypair.generate()
    prepared = signer.prepare(private_key)
    requests = [(prepared, sha384(bytes([number])).digest()) for number in range(max(COUNTS))]
    for _ in range(0, VERIFY_FIRST, 8):
        signer.sign_many(requests[:8])  # a new key's first signatures are all verified
    raw = contenders(private_key)[RAW]
    calls: dict[str, Callable[[], float]] = {RAW: partial(cpu_us, raw, SIGNATURES)}
    for count in COUNTS:
        calls[_label(count)] = partial(_per_signature, signer, requests[:count])
    with servers.on_server_core():
        cpu = rounds.interleave(calls, ROUNDS)
    ratios = {f"{RAW} / {_label(count)}": rounds.ratio(cpu[RAW], cpu[_label(count)]) for count in COUNTS}
    figures: dict[str, Any] = {f"{name}, CPU microseconds": median(values) for name, values in cpu.items()}
    figures["minimum batch of the multi-buffer signer"] = MIN_BATCH
    report("signatures per call, multi-buffer signer", ratios, figures, TARGETS)


def _label(count: int) -> str:
    return f"signature in a call of {count}"


def _per_signature(signer: Any, requests: list[Any]) -> float:
    return cpu_us(lambda: signer.sign_many(requests), SIGNATURES // len(requests)) / len(requests)


if __name__ == "__main__":
    main()
