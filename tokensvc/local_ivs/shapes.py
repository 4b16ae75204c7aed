"""Compiled shapes of an AWS service model: how request values are validated and response values rendered.

Invariants
- Everything is compiled when the model is loaded; a request only runs closures.
- Validation collects every violation instead of stopping at the first. Unknown members are dropped, as AWS ignores
  them; a null member is an absent one.
- Rendering keeps only the modelled members of the body: members located in headers, and members that a resource stores
  besides the modelled ones, are left out.
- A boolean is not an integer, as in JSON.
- INFERRED: A pattern of the model must match the whole value, although most patterns have no anchors; otherwise
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
"""(value, path, violations) -> the value as handlers get it. Appends what is wrong to `violations`."""
Renderer = Callable[[Any], Any]
Shapes = Mapping[str, Mapping[str, Any]]

_INTEGER_BITS = {"integer": 32, "long": 64}
_Z = " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's separators, category Z."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""A pattern of the model as a Python pattern. `\p{L}\p{Z}\p{N}_` is what `\w` and the separators match."""
    translated = pattern.replace(r"\p{L}\p{Z}\p{N}_", r"\w" + _Z)
    if r"\p" in translated:
        raise ValueError(f"the model has a pattern that cannot be translated to Python: {pattern}")
    return re.compile(translated)


def compile_reader(shapes: Shapes, name: str) -> Reader:
    """Compile the function that validates values of a shape."""
    shape = shapes[name]
    return _READERS[shape["type"]](shapes, shape)


def compile_renderer(shapes: Shapes, name: str) -> Renderer:
    """Compile the function that renders values of a shape."""
    shape = shapes[name]
    make = _RENDERERS.get(shape["type"])
    return make(shapes, shape) if make else _unchanged


def _read_structure(shapes: Shapes, shape: Mapping[str, Any]) -> Reader:
    members = {name: compile_reader(shapes, ref["shape"]) for name, ref in shape["members"].items()}
    required = tuple(shape.get("required", ()))

    def read(value: Any, path: str, violations: Violations) -> Any:
        if not isinstance(value, Mapping):
            violations.append(Violation(path, "Member must be an object"))
            return value
        prefix = f"{path}." if path else ""
        violations.extend(
            Violation(prefix + name, "Member must not be null") for name in required if value.get(name) is None
        )
        return {
            name: reader(value[name], prefix + name, violations)
            for name, reader in members.items()
            if value.get(name) is not None
        }

    return read


def _read_list(shapes: Shapes, shape: Mapping[str, Any]) -> Reader:
    member = compile_reader(shapes, shape["member"]["shape"])
    length_ok = _length_check(shape)

    def read(value: Any, path: str, violations: Violations) -> Any:
        if not isinstance(value, list):
            violations.append(Violation(path, "Member must be a list"))
            return value
        if not length_ok(len(value), path, violations):
            return value
        return [_read_element(member, item, f"{path}.{n}.member", violations) for n, item in enumerate(value, 1)]

    return read


def _read_map(shapes: Shapes, shape: Mapping[str, Any]) -> Reader:
    key = compile_reader(shapes, shape["key"]["shape"])
    member = compile_reader(shapes, shape["value"]["shape"])
    length_ok = _length_check(shape)

    def read(value: Any, path: str, violations: Violations) -> Any:
        if not isinstance(value, Mapping):
            violations.append(Violation(path, "Member must be an object"))
            return value
        if not length_ok(len(value), path, violations):
            return value
        return {
            key(name, f"{path}.{n}.key", violations): _read_element(member, item, f"{path}.{n}.value", violations)
            for n, (name, item) in enumerate(value.items(), 1)
        }

    return read


def _read_element(reader: Reader, value: Any, path: str, violations: Violations) -> Any:
    if value is None:
        violations.append(Violation(path, "Member must not be null"))
        return None
    return reader(value, path, violations)


def _read_string(_: Shapes, shape: Mapping[str, Any]) -> Reader:
    length_ok = _length_check(shape)
    pattern = compile_pattern(shape["pattern"]) if "pattern" in shape else None
    enum = tuple(shape.get("enum", ()))

    def read(value: Any, path: str, violations: Violations) -> Any:
        if not isinstance(value, str):
            violations.append(Violation(path, "Member must be a string"))
        elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            violations.append(Violation(path, "Member must be valid Unicode"))
        elif enum and value not in enum:
            violations.append(Violation(path, f"Member must satisfy enum value set: [{', '.join(enum)}]"))
        elif length_ok(len(value), path, violations) and pattern and not pattern.fullmatch(value):
            violations.append(Violation(path, f"Member must satisfy regular expression pattern: {shape['pattern']}"))
        return value

    return read


def _length_check(shape: Mapping[str, Any]) -> Callable[[int, str, Violations], bool]:
    low: float = shape.get("min", 0)
    high: float = shape.get("max", math.inf)

    def check(length: int, path: str, violations: Violations) -> bool:
        if length < low:
            violations.append(Violation(path, f"Member must have length greater than or equal to {low}"))
        elif length > high:
            violations.append(Violation(path, f"Member must have length less than or equal to {high}"))
        return low <= length <= high

    return check


def _read_integer(_: Shapes, shape: Mapping[str, Any]) -> Reader:
    bits = _INTEGER_BITS[shape["type"]]
    low, high = shape.get("min", -(1 << bits - 1)), shape.get("max", (1 << bits - 1) - 1)

    def read(value: Any, path: str, violations: Violations) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            violations.append(Violation(path, "Member must be an integer"))
        elif value < low:
            violations.append(Violation(path, f"Member must have value greater than or equal to {low}"))
        elif value > high:
            violations.append(Violation(path, f"Member must have value less than or equal to {high}"))
        return value

    return read


def _read_boolean(_: Shapes, __: Mapping[str, Any]) -> Reader:
    def read(value: Any, path: str, violations: Violations) -> Any:
        if not isinstance(value, bool):
            violations.append(Violation(path, "Member must be true or false"))
        return value

    return read


def _read_timestamp(_: Shapes, __: Mapping[str, Any]) -> Reader:
    def read(value: Any, path: str, violations: Violations) -> Any:
        try:
            return _instant(value)
        except (ValueError, OverflowError, OSError):
            violations.append(Violation(path, "Member must be an ISO 8601 timestamp"))
            return value

    return read


def _instant(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)
    if not isinstance(value, datetime):
        raise ValueError("not a timestamp")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _render_structure(shapes: Shapes, shape: Mapping[str, Any]) -> Renderer:
    members = {
        name: compile_renderer(shapes, ref["shape"]) for name, ref in shape["members"].items() if "location" not in ref
    }
    plain = tuple(name for name, member in members.items() if member is _unchanged)
    others = tuple((name, member) for name, member in members.items() if member is not _unchanged)

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
    return list if member is _unchanged else lambda value: [member(item) for item in value]


def _render_map(shapes: Shapes, shape: Mapping[str, Any]) -> Renderer:
    member = compile_renderer(shapes, shape["value"]["shape"])
    return dict if member is _unchanged else lambda value: {key: member(item) for key, item in value.items()}


def _render_timestamp(_: Shapes, __: Mapping[str, Any]) -> Renderer:
    return lambda value: _instant(value).isoformat().replace("+00:00", "Z")


def _unchanged(value: Any) -> Any:
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
