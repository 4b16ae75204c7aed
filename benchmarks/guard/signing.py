"""CPU time of a token created in this process, relative to a raw signature.

Invariants
- The CPU time of the thread is measured, not wall-clock time, so other load on the machine does not count.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from benchmarks import rounds, servers
from benchmarks.rounds import Spread
from benchmarks.sign import RAW, contenders, cpu_us

RATIO = "CPU time, token in process / signature"
RATIOS = (RATIO,)
ROUNDS = 41
CALLS = 500


def measure() -> tuple[dict[str, Spread], dict[str, float]]:
    """The ratio and the figures behind it."""
    calls = contenders()
    with servers.on_server_core():
        results = rounds.interleave({name: partial(cpu_us, calls[name], CALLS) for name in (RAW, "tokensvc")}, ROUNDS)
    figures = {f"{name}, CPU microseconds": median(values) for name, values in results.items()}
    return {RATIO: rounds.ratio(results["tokensvc"], results[RAW])}, figures
