"""Shapes of an AWS service model, compiled: how a value is checked on its way in, and rendered on its way out.

Rules of the file
- Everything is prepared when the model is loaded; per request closures run, nothing is compiled or looked up.
- Reading collects every violation instead of stopping at the first. Members that are unknown are left out, as AWS
  ignores them; a null member is an absent one.
- Rendering keeps the modelled members of the body alone: header-located ones and what a kind keeps beside them stay.
- A boolean is no integer, here as in JSON.
- INFERRED: a pattern must match the whole value, although the model's patterns carry no anchors; otherwise
  `[a-zA-Z0-9-_]*` would allow every name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tokensvc.local_ivs.errors import Violation

Violations = list[Violation]
Reader = Callable[[Any, str, Violations], Any]
"""(value, path, report) -> the value as handlers see it; what is wrong goes to the report."""
Renderer = Callable[[Any], Any]
Shapes = Mapping[str, Mapping[str, Any]]

_INTEGER_BITS = {"integer": 32, "long": 64}
_Z = " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's separators, category Z."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""A pattern of the model as Python spells it. `\p{L}\p{Z}\p{N}_` is what `\w` and the separators match."""
    translated = pattern.replace(r"\p{L}\p{Z}\p{N}_", r"\w" + _Z)
    if r"\p" in translated:
        raise ValueError(f"the model has a pattern that is not translated: {pattern}")
    return re.compile(translated)


def compile_reader(shapes: Shapes, name: str) -> Reader:
    """How a value of this shape is checked."""
    shape = shapes[name]
    return _READERS[shape["type"]](shapes, shape)


def compile_renderer(shapes: Shapes, name: str) -> Renderer:
    """How a value of this shape is written to JSON."""
    shape = shapes[name]
    make = _RENDERERS.get(shape["type"])
    return make(shapes, shape) if make else _as_it_is


def _read_structure(shapes: Shapes, shape: Mapping[str, Any]) -> Reader:
    members = {name: compile_reader(shapes, ref["shape"]) for name, ref in shape["members"].items()}
    required = tuple(shape.get("required", ()))

    def read(value: Any, path: str, report: Violations) -> Any:
        if not isinstance(value, Mapping):
            report.append(Violation(path, "Member must be an object"))
            return value
        prefix = f"{path}." if path else ""
        report.extend(
            Violation(prefix + name, "Member must not be null") for name in required if value.get(name) is None
        )
        return {
            name: reader(value[name], prefix + name, report)
            for name, reader in members.items()
            if value.get(name) is not None
        }

    return read


def _read_list(shapes: Shapes, shape: Mapping[str, Any]) -> Reader:
    member = compile_reader(shapes, shape["member"]["shape"])
    sized = _length_check(shape)

    def read(value: Any, path: str, report: Violations) -> Any:
        if not isinstance(value, list):
            report.append(Violation(path, "Member must be a list"))
            return value
        if not sized(len(value), path, report):
            return value
        return [_present(member, item, f"{path}.{n}.member", report) for n, item in enumerate(value, 1)]

    return read


def _read_map(shapes: Shapes, shape: Mapping[str, Any]) -> Reader:
    key = compile_reader(shapes, shape["key"]["shape"])
    member = compile_reader(shapes, shape["value"]["shape"])
    sized = _length_check(shape)

    def read(value: Any, path: str, report: Violations) -> Any:
        if not isinstance(value, Mapping):
            report.append(Violation(path, "Member must be an object"))
            return value
        if not sized(len(value), path, report):
            return value
        return {
            key(name, f"{path}.{n}.key", report): _present(member, item, f"{path}.{n}.value", report)
            for n, (name, item) in enumerate(value.items(), 1)
        }

    return read


def _present(reader: Reader, value: Any, path: str, report: Violations) -> Any:
    if value is None:
        report.append(Violation(path, "Member must not be null"))
        return None
    return reader(value, path, report)


def _read_string(_: Shapes, shape: Mapping[str, Any]) -> Reader:
    sized = _length_check(shape)
    pattern = compile_pattern(shape["pattern"]) if "pattern" in shape else None
    enum = tuple(shape.get("enum", ()))

    def read(value: Any, path: str, report: Violations) -> Any:
        if not isinstance(value, str):
            report.append(Violation(path, "Member must be a string"))
        elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            report.append(Violation(path, "Member must be valid Unicode"))
        elif enum and value not in enum:
            report.append(Violation(path, f"Member must satisfy enum value set: [{', '.join(enum)}]"))
        elif sized(len(value), path, report) and pattern and not pattern.fullmatch(value):
            report.append(Violation(path, f"Member must satisfy regular expression pattern: {shape['pattern']}"))
        return value

    return read


def _length_check(shape: Mapping[str, Any]) -> Callable[[int, str, Violations], bool]:
    low: float = shape.get("min", 0)
    high: float = shape.get("max", math.inf)

    def check(length: int, path: str, report: Violations) -> bool:
        if length < low:
            report.append(Violation(path, f"Member must have length greater than or equal to {low}"))
        elif length > high:
            report.append(Violation(path, f"Member must have length less than or equal to {high}"))
        return low <= length <= high

    return check


def _read_integer(_: Shapes, shape: Mapping[str, Any]) -> Reader:
    bits = _INTEGER_BITS[shape["type"]]
    low, high = shape.get("min", -(1 << bits - 1)), shape.get("max", (1 << bits - 1) - 1)

    def read(value: Any, path: str, report: Violations) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            report.append(Violation(path, "Member must be an integer"))
        elif value < low:
            report.append(Violation(path, f"Member must have value greater than or equal to {low}"))
        elif value > high:
            report.append(Violation(path, f"Member must have value less than or equal to {high}"))
        return value

    return read


def _read_boolean(_: Shapes, __: Mapping[str, Any]) -> Reader:
    def read(value: Any, path: str, report: Violations) -> Any:
        if not isinstance(value, bool):
            report.append(Violation(path, "Member must be true or false"))
        return value

    return read


def _read_timestamp(_: Shapes, __: Mapping[str, Any]) -> Reader:
    def read(value: Any, path: str, report: Violations) -> Any:
        try:
            return _instant(value)
        except (ValueError, OverflowError, OSError):
            report.append(Violation(path, "Member must be an ISO 8601 timestamp"))
            return value

    return read


def _instant(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)
    if not isinstance(value, datetime):
        raise ValueError("no timestamp")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _render_structure(shapes: Shapes, shape: Mapping[str, Any]) -> Renderer:
    members = {
        name: compile_renderer(shapes, ref["shape"]) for name, ref in shape["members"].items() if "location" not in ref
    }
    plain = tuple(name for name, member in members.items() if member is _as_it_is)
    others = tuple((name, member) for name, member in members.items() if member is not _as_it_is)

    def render(value: Any) -> Any:
        get = value.get
        rendered = {name: found for name in plain if (found := get(name)) is not None}
        for name, member in others:
            if (found := get(name)) is not None:
                rendered[name] = member(found)
        return rendered

    return render


def _render_list(shapes: Shapes, shape: Mapping[str, Any]) -> Renderer:
    member = compile_renderer(shapes, shape["member"]["shape"])
    return list if member is _as_it_is else lambda value: [member(item) for item in value]


def _render_map(shapes: Shapes, shape: Mapping[str, Any]) -> Renderer:
    member = compile_renderer(shapes, shape["value"]["shape"])
    return dict if member is _as_it_is else lambda value: {key: member(item) for key, item in value.items()}


def _render_timestamp(_: Shapes, __: Mapping[str, Any]) -> Renderer:
    return lambda value: _instant(value).isoformat().replace("+00:00", "Z")


def _as_it_is(value: Any) -> Any:
    return value


_READERS: dict[str, Callable[[Shapes, Mapping[str, Any]], Reader]] = {
    "structure": _read_structure,
    "list": _read_list,
    "map": _read_map,
    "string": _read_string,
    "integer": _read_integer,
    "long": _read_integer,
    "boolean": _read_boolean,
    "timestamp": _read_timestamp,
}
_RENDERERS: dict[str, Callable[[Shapes, Mapping[str, Any]], Renderer]] = {
    "structure": _render_structure,
    "list": _render_list,
    "map": _render_map,
    "timestamp": _render_timestamp,
}
