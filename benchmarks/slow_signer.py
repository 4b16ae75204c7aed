"""`tokensvc` with a signer of fixed cost: `python -m benchmarks.slow_signer serve`.

A worker that signs at full speed is as fast as a load generator in Python; one with this signer can be overloaded. The
processor is busy for the whole cost. BENCHMARK_SIGNATURE_SECONDS is that of one signature.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import perf_counter

from tokensvc.cli import main
from tokensvc.jose.es384 import PreparedKey
from tokensvc.jose.signing import choice
from tokensvc.jose.signing.aws_lc import AwsLcSigner
from tokensvc.metrics import SigningMetrics

ENVIRONMENT = "BENCHMARK_SIGNATURE_SECONDS"


class SlowSigner(AwsLcSigner):
    """AWS-LC's signatures, each of which takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def sign_many(self, requests: Sequence[tuple[PreparedKey, bytes]]) -> list[bytes]:
        until = perf_counter() + self._seconds * len(requests)
        signatures = super().sign_many(requests)  # type: ignore[arg-type] # as prepared by this signer
        while perf_counter() < until:
            pass
        return signatures


def _load(_metrics: SigningMetrics) -> SlowSigner:
    return SlowSigner(float(os.environ[ENVIRONMENT]))


if __name__ == "__main__":
    choice.SIGNERS["aws-lc"] = _load  # type: ignore[index] # a plain dictionary, read-only for everyone else
    main()
