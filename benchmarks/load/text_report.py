"""A result as text: what makes it invalid first, then responses by code, then the figures.

Invariants
- Every limit of the run is shown with the measured value, whether it was met or not.
- A figure that was not measured is `-`, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def text_of(result: Mapping[str, Any]) -> str:
    """The result for a terminal."""
    return "\n".join(_lines(result))


def rates_of(plan: Mapping[str, Any]) -> str:
    """A plan's rate and duration as text, as `0 to 4,000 requests/s for 20 s`."""
    rates = [stage[end] for stage in plan["stages"] for end in ("from_rate", "to_rate")]
    if not rates:
        return ""
    between = f"{max(rates):,g}" if min(rates) == max(rates) else f"{min(rates):,g} to {max(rates):,g}"
    seconds = sum(stage["seconds"] for stage in plan["stages"])
    warmup = f" ({plan['warmup_seconds']} s warm-up)" if plan["warmup_seconds"] else ""
    return f"{between} requests/s for {seconds:,g} s{warmup}"


def verdicts_of(result: Mapping[str, Any]) -> list[str]:
    """What makes the run invalid, and which limits it exceeded."""
    kinds = {"invalid": "INVALID RUN", "failed": "FAILED RUN", "exceeded": "OVER THE LIMIT"}
    return [f"{name}: {reason}" for kind, name in kinds.items() for reason in result[kind]]


_MAX_VERDICTS = 5
_PERCENTILES = {"p999": "p99.9"}
_LABELS = {
    "completed_to_sent": "completed / sent",
    "p99_to_p50": "p99 / p50",
    "cpu_us_per_token": "CPU µs per token",
    "memory_start_mib": "memory at start, MiB",
    "memory_end_mib": "memory at end, MiB",
    "memory_max_mib": "memory maximum, MiB",
    "processes_ended": "processes that exited during the run",
}


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    plan = result["plan"]
    described = ", ".join(part for part in (plan["title"], rates_of(plan)) if part)
    yield f"{result['benchmark']}, against {', '.join(result['url'])}"
    if described:
        yield described
    if result["interrupted"]:
        yield "interrupted: the figures cover what was sent until then"
    verdicts = verdicts_of(result)
    for verdict in verdicts[:_MAX_VERDICTS]:
        yield f"\n*** {verdict} ***"
    if len(verdicts) > _MAX_VERDICTS:
        yield f"*** and {len(verdicts) - _MAX_VERDICTS} more"
    yield from _responses(result)
    yield from _limits(result)
    yield ""
    yield from _table(result["ratios"])
    yield ""
    yield from _table({name: value for name, value in result["figures"].items() if name != "error_rate"})
    yield "\n  latency from the intended send time, ms"
    yield from _percentile_rows({"all": result["latency_ms"], **_kinds(result)})
    if result["generators"]:
        yield "\n  generator scheduling delay, ms"
        yield from _percentile_rows(
            {f"generator {n}": one["scheduling_delay_ms"] for n, one in enumerate(result["generators"])}
        )
    for number, one in enumerate(result["generators"]):
        yield _row(f"generator {number}, CPU share of one core", one["cpu_share"])
    yield (
        "\n  server, all processes"
        if result["server"]
        else "\n  server not measured: it runs on another machine or as another user, or the run was too short"
    )
    yield from _table(result["server"] or {})
    for number, action in enumerate(result["actions"]):
        yield ("\n" if number == 0 else "") + (
            f"  {action['command']}: started at {action['at_seconds']:g} s, took {action['took_seconds']:.1f} s, "
            f"exit code {action['exit_code']}"
        )


def _responses(result: Mapping[str, Any]) -> Iterator[str]:
    figures, warmup = result["figures"], result["warmup"]
    yield f"\n  responses by code, of {figures['requests']:,} requests"
    counts = {str(one["status"]): one["count"] for one in result["successes"]}
    counts |= {one["error"]: one["count"] for one in result["errors"]}
    for name, number in counts.items():
        share = number / figures["requests"] if figures["requests"] else 0.0
        yield f"{_row(name, number)} {share:>10.3%}"
    if not counts:
        yield "  none"
    if warmup["errors"]:
        yield f"\n  errors in the warm-up, of {warmup['requests']:,} requests"
        yield from _table({one["error"]: one["count"] for one in warmup["errors"]})


def _limits(result: Mapping[str, Any]) -> Iterator[str]:
    limits = result["limits"]
    late = [
        one["scheduling_delay_ms"]["p99"]
        for one in result["generators"]
        if one["scheduling_delay_ms"]["p99"] is not None
    ]
    yield "\n  limits" + " " * 36 + f"{'measured':>8} {'limit':>10}"
    yield _limit(
        "generator scheduling delay p99, ms",
        max(late, default=None),
        limits["scheduling_delay_ms"],
        "--max-scheduling-delay",
    )
    yield _limit("latency p99, ms", result["latency_ms"]["p99"], limits["p99_ms"], "--max-p99")
    error_rate, maximum = result["figures"]["error_rate"], limits["error_rate"]
    yield _limit("error rate, %", _percent(error_rate), _percent(maximum), "--max-error-rate", decimals=4)


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _limit(name: str, measured: float | None, limit: float | None, option: str, *, decimals: int = 2) -> str:
    shown = "-" if measured is None else f"{measured:,.{decimals}f}"
    line = f"  {name:<38} {shown:>12} {'none' if limit is None else f'{limit:g}':>10}   {option}"
    if limit is None or measured is None:
        return line
    return f"{line}   {'exceeded' if measured > limit else 'met'}"


def _kinds(result: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds: Mapping[str, Any] = result["latency_ms_by_kind"]
    return kinds if len(kinds) > 1 else {}


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield _row(_LABELS.get(name, name if " " in name else name.replace("_", " ")), value)


def _row(name: str, value: float | None) -> str:
    shown = "-" if value is None else f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
    return f"  {name:<38} {shown:>12}"


def _percentile_rows(rows: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    columns: Sequence[str] = list(next(iter(rows.values())))
    yield "  " + " " * 14 + "".join(f"{_PERCENTILES.get(column, column):>10}" for column in columns)
    for name, percentiles in rows.items():
        yield f"  {name:<14}" + "".join(
            "         -" if value is None else f"{value:>10.2f}" for value in percentiles.values()
        )
