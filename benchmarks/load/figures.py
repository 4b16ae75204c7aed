"""What a run shows: totals -> figures, ratios, and whether they are worth anything.

Rules of the file
- A latency is from the intended instant, in milliseconds. An achieved rate counts successes within the schedule.
- A run is invalid where a generator was late itself: over 1 ms at p99. It failed where a sampled token is bad, an
  action failed or went on after the load, or nothing was answered. Either is said first.
- The server's CPU for a token is what all its processes used between warm-up and end, by the tokens that came then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.load.latency import COARSE, FINE, Counts, longest, percentile
from benchmarks.load.records import Reading
from benchmarks.load.samples import judge
from benchmarks.load.totals import Totals

LATE_MS = 1.0
PERCENTS = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}


def figures_of(totals: Totals) -> dict[str, Any]:
    """The whole result, ready for JSON."""
    bad = judge(totals.samples, (key for line in totals.keys for key in line.keys))
    counted = totals.counted.values()
    seconds = max(totals.end - totals.first, 0.001)
    asked, answered = sum(s.asked for s in counted), sum(s.answered for s in counted)
    tokens = sum(s.tokens for s in counted)
    latency = spread(totals.latencies)
    run = totals.runs[0]
    return {
        "benchmark": f"load: {run.plan}",
        "invalid": _invalid(totals),
        "failed": _failed(totals, bad, answered),
        "interrupted": any(one.interrupted for one in totals.runs),
        "ratios": {
            "achieved / asked": answered / asked if asked else 0.0,
            "p99 / p50": latency["p99"] / latency["p50"] if latency["p50"] else 0.0,
        },
        "figures": {
            "seconds": seconds,
            "asked per second": asked / seconds,
            "achieved per second": answered / seconds,
            "tokens per second": tokens / seconds,
            "requests": asked,
            "failed requests": sum(s.failed for s in counted),
            "waited for a connection": sum(g.waited for g in totals.generators),
            "sampled tokens verified": len(totals.samples) - len(bad),
        },
        "latency, ms": latency,
        "latency by kind, ms": {kind: spread(counts) for kind, counts in sorted(totals.kinds.items())},
        "errors": dict(totals.errors.most_common()),
        "server": _server(totals),
        "generators": [
            {
                "lateness, ms": spread(one.lateness),
                "CPU share": one.cpu_seconds / one.wall_seconds if one.wall_seconds else 0.0,
            }
            for one in totals.generators
        ],
        "actions": [action.model_dump(exclude={"type"}) for action in totals.actions],
        "url": sorted({one.url for one in totals.runs}),
        "started_at": min(one.started_at for one in totals.runs).isoformat(),
        "machines": [one.machine for one in totals.runs],
    }


def over_time(totals: Totals) -> dict[str, list[float]]:
    """Second by second: asked, answered and failed requests, and latencies in milliseconds."""
    rows = totals.counted
    return {
        "second": [float(number) for number in rows],
        "asked": [float(s.asked) for s in rows.values()],
        "answered": [float(s.answered) for s in rows.values()],
        "failed": [float(s.failed) for s in rows.values()],
        **{name: [percentile(s.latencies, at, COARSE) for s in rows.values()] for name, at in PERCENTS.items()},
        "max": [longest(s.latencies, COARSE) for s in rows.values()],
    }


def spread(counts: Counts) -> dict[str, float]:
    """Percentiles and the longest, in milliseconds."""
    return {name: percentile(counts, at, FINE) for name, at in PERCENTS.items()} | {"max": longest(counts, FINE)}


def _invalid(totals: Totals) -> list[str]:
    late = [percentile(one.lateness, 99, FINE) for one in totals.generators]
    return [
        f"a generator was {p99:.1f} ms late at p99 (at most {LATE_MS:g}): the latencies are its own. Give it "
        "more processes, a quieter machine, or a lower rate"
        for p99 in late
        if p99 > LATE_MS
    ]


def _failed(totals: Totals, bad: list[str], answered: int) -> list[str]:
    failures = [] if answered else ["nothing was answered as it should be"]
    if any(second.tokens for second in totals.counted.values()) and not totals.samples:
        failures.append("no token was sampled, so none was verified")
    failures += [f"{a.command}: exit code {a.exit_code}" for a in totals.actions if a.exit_code]
    failures += [
        f"{a.command}: ended {over:.1f} s after the load, which therefore does not show it"
        for a in totals.actions
        if (over := a.at_seconds + a.took_seconds - totals.end) > 0
    ]
    return failures + bad


def _server(totals: Totals) -> Mapping[str, Any] | None:
    """Of a server that ran beside the generators; None of one that was elsewhere."""
    spans = [span for read in totals.readings.values() if len(span := _within(read.values(), totals)) > 1]
    if not spans:
        return None
    cpu = sum(span[-1].cpu_seconds - span[0].cpu_seconds for span in spans)
    from_second, to_second = min(span[0].second for span in spans), max(span[-1].second for span in spans)
    tokens = sum(second.tokens for number, second in totals.counted.items() if from_second <= number < to_second)
    memory = [sum(moment) for moment in zip(*([r.rss_bytes / 2**20 for r in s] for s in spans), strict=False)]
    return {
        "CPU microseconds a token": cpu / tokens * 1e6 if tokens else None,
        "cores used": cpu / (to_second - from_second),
        "processes": max(reading.processes for span in spans for reading in span),
        "memory at first, MiB": memory[0],
        "memory at last, MiB": memory[-1],
        "memory at most, MiB": max(memory),
    }


def _within(readings: Iterable[Reading], totals: Totals) -> list[Reading]:
    return [reading for reading in readings if totals.first <= reading.second <= totals.end]
