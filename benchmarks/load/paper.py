"""A result as text: what makes it worthless first, then what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def text_of(result: Mapping[str, Any]) -> str:
    """The result for a terminal."""
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"{result['benchmark']}, against {', '.join(result['url'])}"
    if result["interrupted"]:
        yield "interrupted: figures are of what was sent until then"
    for why in result["invalid"]:
        yield f"\n*** INVALID RUN: {why} ***"
    for number, why in enumerate(result["failed"]):
        if number == _SHOWN:
            yield f"*** and {len(result['failed']) - _SHOWN} more"
            break
        yield f"\n*** FAILED RUN: {why} ***"
    yield ""
    yield from _table(result["ratios"])
    yield ""
    yield from _table(result["figures"])
    yield "\n  latency from the intended instant, ms"
    yield from _spreads({"all": result["latency, ms"], **_kinds(result)})
    yield "\n  the generators' own lateness, ms"
    yield from _spreads({f"generator {n}": one["lateness, ms"] for n, one in enumerate(result["generators"])})
    for number, one in enumerate(result["generators"]):
        yield f"  {f'generator {number}, share of a core':<38} {one['CPU share']:>12.2f}"
    yield "\n  the server" if result["server"] else "\n  the server was not read: it is elsewhere, or the run too short"
    yield from _table(result["server"] or {})
    yield "\n  errors" if result["errors"] else "\n  no errors"
    yield from _table(result["errors"])
    for action in result["actions"]:
        yield f"  {action['command']}: at {action['at_seconds']:g} s, took {action['took_seconds']:.1f} s"


_SHOWN = 5


def _kinds(result: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds: Mapping[str, Any] = result["latency by kind, ms"]
    return kinds if len(kinds) > 1 else {}


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        shown = "-" if value is None else f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        yield f"  {name:<38} {shown:>12}"


def _spreads(rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    for number, (name, spread) in enumerate(rows.items()):
        if number == 0:
            yield "  " + " " * 14 + "".join(f"{column:>10}" for column in spread)
        yield f"  {name:<14}" + "".join(f"{value:>10.2f}" for value in spread.values())
