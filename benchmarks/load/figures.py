"""The result of a run: totals -> figures, ratios, and whether the run is valid.

Invariants
- A latency counts from the intended send time, in milliseconds; None if none was measured, never 0. An achieved rate
  counts successes within the schedule.
- A run is invalid if the p99 of a generator's scheduling delay exceeds its limit. It failed if a sampled token is
  invalid, an action failed or ended after the load, a generator died, or nothing succeeded. It exceeded a limit if its
  p99 or error rate is above what the caller allows. These come first, each with its limit.
- The server's CPU time per token is what all its processes used between warm-up and end, divided by the tokens received
  in that time.
- Keys of the result are words joined by underscores, with the unit last, so that a query such as `jq .latency_ms.p99`
  needs no quotes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.load.latency import COARSE, FINE, Counts, longest, percentile
from benchmarks.load.limits import Limits
from benchmarks.load.records import Reading, Run
from benchmarks.load.request_kinds import KINDS
from benchmarks.load.token_samples import verify_samples
from benchmarks.load.totals import Totals

PERCENTS = {"p50": 50, "p90": 90, "p99": 99, "p999": 99.9}
_STATUS_AND_CODE = re.compile(r"(\d{3})(?: (\w+))?")


def figures_of(totals: Totals, limits: Limits | None = None) -> dict[str, Any]:
    """The whole result, ready for JSON, checked against these limits, by default those of the run."""
    limits = limits or totals.limits
    invalid_tokens = verify_samples(totals.samples, (key for line in totals.keys for key in line.keys))
    counted = totals.counted.values()
    seconds = max(totals.end - totals.first, 0.001)
    sent, completed = sum(s.sent for s in counted), sum(s.completed for s in counted)
    failed = sum(s.failed for s in counted)
    tokens = sum(s.tokens for s in counted)
    latency = percentiles_of(totals.latencies)
    error_rate = failed / sent if sent else None
    return {
        "benchmark": f"load: {totals.runs[0].plan}",
        "plan": _plan(totals.runs[0]),
        "invalid": _invalid(totals, limits),
        "failed": _failed(totals, invalid_tokens, completed),
        "exceeded": list(_exceeded(limits, latency["p99"], error_rate)),
        "interrupted": any(one.interrupted for one in totals.runs),
        "limits": limits.model_dump(),
        "successes": _successes(totals),
        "errors": _errors(totals.errors),
        "warmup": _warmup(totals),
        "ratios": {
            "completed_to_sent": completed / sent if sent else None,
            "p99_to_p50": latency["p99"] / latency["p50"] if latency["p99"] and latency["p50"] else None,
        },
        "figures": {
            "seconds": seconds,
            "sent_per_second": sent / seconds,
            "completed_per_second": completed / seconds,
            "tokens_per_second": tokens / seconds,
            "requests": sent,
            "failed_requests": failed,
            "abandoned_requests": sum(g.abandoned for g in totals.generators),
            "error_rate": error_rate,
            "waited_for_connection": sum(g.waited for g in totals.generators),
            "sampled_tokens_verified": len(totals.samples) - len(invalid_tokens),
        },
        "latency_ms": latency,
        "latency_ms_by_kind": {kind: percentiles_of(counts) for kind, counts in sorted(totals.kinds.items())},
        "server": _server(totals),
        "generators": [
            {
                "scheduling_delay_ms": percentiles_of(one.scheduling_delays),
                "cpu_share": one.cpu_seconds / one.wall_seconds if one.wall_seconds else None,
            }
            for one in totals.generators
        ],
        "actions": [action.model_dump(exclude={"type"}) for action in totals.actions],
        "url": sorted({one.url for one in totals.runs}),
        "started_at": min(one.started_at for one in totals.runs).isoformat(),
        "machines": [one.machine for one in totals.runs],
    }


def exit_code(result: Mapping[str, Any]) -> int:
    """0 for a valid run, 1 for one that is invalid or failed, 3 for one that exceeded a limit."""
    if result["invalid"] or result["failed"]:
        return 1
    return 3 if result["exceeded"] else 0


def over_time(totals: Totals) -> dict[str, list[float | None]]:
    """Second by second: sent, completed and failed requests, and latencies in milliseconds."""
    rows = totals.counted
    return {
        "second": [float(number) for number in rows],
        "sent": [float(s.sent) for s in rows.values()],
        "completed": [float(s.completed) for s in rows.values()],
        "failed": [float(s.failed) for s in rows.values()],
        **{
            name: [percentile(s.latencies, at, COARSE) if s.latencies else None for s in rows.values()]
            for name, at in PERCENTS.items()
        },
        "max": [longest(s.latencies, COARSE) if s.latencies else None for s in rows.values()],
    }


def errors_over_time(totals: Totals) -> dict[str, list[int]]:
    """For each error, the most frequent first: how many of the requests due in each second failed with it."""
    rows = totals.counted
    together: Counter[str] = Counter()
    for second in rows.values():
        together.update(second.errors)
    return {error: [second.errors[error] for second in rows.values()] for error, _ in together.most_common()}


def percentiles_of(counts: Counts) -> dict[str, float | None]:
    """Percentiles and the maximum, in milliseconds; None if nothing was counted."""
    measured: dict[str, float | None] = {name: percentile(counts, at, FINE) for name, at in PERCENTS.items()}
    measured["max"] = longest(counts, FINE)
    return measured if counts else dict.fromkeys(measured)


def _plan(run: Run) -> dict[str, Any]:
    return {
        "name": run.plan,
        "title": run.title,
        "scale": run.scale,
        "warmup_seconds": run.warmup_seconds,
        "stages": [stage.model_dump() for stage in run.stages],
    }


def _invalid(totals: Totals, limits: Limits) -> list[str]:
    late = [percentile(one.scheduling_delays, 99, FINE) for one in totals.generators]
    return [
        f"a generator's scheduling delay was {p99:.1f} ms at p99; the limit is {limits.scheduling_delay_ms:g} ms "
        "(--max-scheduling-delay). Latencies include this delay: use more processes, a quieter machine, or a lower rate"
        for p99 in late
        if p99 > limits.scheduling_delay_ms
    ]


def _exceeded(limits: Limits, p99: float | None, error_rate: float | None) -> Iterable[str]:
    if limits.p99_ms is not None and p99 is None:
        yield f"no latency was measured; the limit of p99 is {limits.p99_ms:g} ms (--max-p99)"
    elif limits.p99_ms is not None and p99 is not None and p99 > limits.p99_ms:
        yield f"p99 is {p99:.2f} ms; the limit is {limits.p99_ms:g} ms (--max-p99)"
    if limits.error_rate is not None and error_rate is not None and error_rate > limits.error_rate:
        yield f"the error rate is {error_rate:.3%}; the limit is {limits.error_rate:.3%} (--max-error-rate)"


def _failed(totals: Totals, invalid_tokens: list[str], completed: int) -> list[str]:
    failures = [failure for run in totals.runs for failure in run.failures]
    counted = totals.counted.values()
    if not failures and not any(second.sent for second in counted):
        failures.append("no request was due after the warm-up, so nothing was measured")
    elif not failures and not completed and not totals.succeeded.total():  # a success may come after the schedule
        [(most, _)] = totals.errors.most_common(1) or [("no response", 0)]
        failures.append(f"no request succeeded; most frequent: {most}")
    if any(second.tokens for second in counted) and not totals.samples:
        failures.append("no token was sampled, so none was verified")
    failures += [f"{a.command}: exit code {a.exit_code}" for a in totals.actions if a.exit_code]
    failures += [
        f"{a.command}: ended {over:.1f} s after the load, so the figures do not cover it"
        for a in totals.actions
        if (over := a.at_seconds + a.took_seconds - totals.end) > 0
    ]
    return failures + invalid_tokens


def _successes(totals: Totals) -> list[dict[str, Any]]:
    """The successes by status."""
    statuses: Counter[int] = Counter()
    for kind, number in totals.succeeded.items():
        statuses[KINDS[kind].status] += number
    return [{"status": status, "count": number} for status, number in statuses.most_common() if number]


def _errors(counts: Counter[str]) -> list[dict[str, Any]]:
    """The errors, the most frequent first, with status and the service's error code if known."""
    return [_error(error) | {"count": number} for error, number in counts.most_common()]


def _error(error: str) -> dict[str, Any]:
    parts = _STATUS_AND_CODE.fullmatch(error)
    return {"error": error, "status": int(parts[1]) if parts else None, "code": parts[2] if parts else None}


def _warmup(totals: Totals) -> dict[str, Any]:
    errors: Counter[str] = Counter()
    for second in totals.warmup:
        errors.update(second.errors)
    return {
        "requests": sum(second.sent for second in totals.warmup),
        "failed_requests": sum(second.failed for second in totals.warmup),
        "errors": _errors(errors),
    }


def _server(totals: Totals) -> Mapping[str, Any] | None:
    """Figures of the server's processes; None if it ran on another machine."""
    spans = [span for read in totals.readings.values() if len(span := _within(read.values(), totals)) > 1]
    if not spans:
        return None
    cpu = sum(span[-1].cpu_seconds - span[0].cpu_seconds for span in spans)
    from_second, to_second = min(span[0].second for span in spans), max(span[-1].second for span in spans)
    tokens = sum(second.tokens for number, second in totals.counted.items() if from_second <= number < to_second)
    memory = [sum(moment) for moment in zip(*([r.rss_bytes / 2**20 for r in s] for s in spans), strict=False)]
    return {
        "cpu_us_per_token": cpu / tokens * 1e6 if tokens else None,
        "cores_used": cpu / (to_second - from_second),
        "processes": max(sum(moment) for moment in zip(*([r.processes for r in s] for s in spans), strict=False)),
        "processes_ended": sum(span[-1].ended - span[0].ended for span in spans),
        "memory_start_mib": memory[0],
        "memory_end_mib": memory[-1],
        "memory_max_mib": max(memory),
    }


def _within(readings: Iterable[Reading], totals: Totals) -> list[Reading]:
    return [reading for reading in readings if totals.first <= reading.second <= totals.end]
