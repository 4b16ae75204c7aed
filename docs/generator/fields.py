"""Tables of a model's fields, from its JSON schema.

Invariants
- Nested objects are rows of the same table: `ads.optOut`, `targets[].state`.
- A model in `shown_elsewhere` is not expanded; its row says where its fields are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from docs.generator.markdown import code, table

_NO_LINKS: Mapping[str, str] = {}


class Field(NamedTuple):
    """One row."""

    name: str
    kind: str
    required: bool
    """Of a request: it must be sent; of a response: it is always there."""
    nullable: bool
    meaning: str


def fields(
    schema: Mapping[str, Any],
    definitions: Mapping[str, Any],
    shown_elsewhere: Mapping[str, str] = _NO_LINKS,
    prefix: str = "",
) -> Iterator[Field]:
    """The fields of an object, and of the objects within it."""
    for name, given in schema.get("properties", {}).items():
        plain, nullable = _without_null(given)
        kind, nested, note = _kind(plain, definitions, shown_elsewhere)
        meaning = f"{given.get('description', '')}{note}"
        yield Field(f"{prefix}{name}", kind, name in schema.get("required", ()), nullable, meaning)
        if nested is not None:
            inner = f"{prefix}{name}[]." if kind.startswith("list") else f"{prefix}{name}."
            yield from fields(nested, definitions, shown_elsewhere, inner)


def request_table(rows: Iterator[Field]) -> str:
    """The fields of a request."""
    return table(
        ["field", "type", "meaning"],
        [[code(row.name), f"{row.kind}; required" if row.required else row.kind, f"{row.meaning}."] for row in rows],
    )


def response_table(rows: Iterator[Field]) -> str:
    """The fields of a response."""
    return table(["field", "type", "meaning"], [[code(row.name), _sent_kind(row), f"{row.meaning}."] for row in rows])


def _sent_kind(row: Field) -> str:
    if not row.required:
        return f"{row.kind}; may be missing"
    return f"{row.kind} or `null`" if row.nullable else row.kind


def _without_null(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind != "null"]
        plain = {**schema, "type": kinds[0]}
        if "enum" in schema:
            plain["enum"] = [value for value in schema["enum"] if value is not None]
        return plain, len(kinds) < len(schema["type"])
    alternatives = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    nullable = len(alternatives) < len(schema.get("anyOf", ()))
    if len(alternatives) == 1:
        return {**{key: value for key, value in schema.items() if key != "anyOf"}, **alternatives[0]}, nullable
    return schema, nullable


def _kind(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], shown_elsewhere: Mapping[str, str]
) -> tuple[str, Mapping[str, Any] | None, str]:
    """The type in words, the object whose fields follow, and a note on where else they are."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        target = definitions[name]
        if "properties" not in target:
            return _kind({**target, "default": schema.get("default")}, definitions, shown_elsewhere)
        if name in shown_elsewhere:
            note = shown_elsewhere[name]
            return "object", None, f": {note}" if note else ""
        return "object", target, ""
    if schema.get("type") == "array":
        inner, nested, note = _kind(_without_null(schema["items"])[0], definitions, shown_elsewhere)
        count = _range(schema.get("minItems"), schema.get("maxItems"), "entries")
        plural = inner.replace("string", "strings", 1).replace("object", "objects", 1)
        return f"list of {plural}{count}", nested, note
    if "anyOf" in schema:
        return "object", None, ""
    return _scalar(schema), None, ""


def _scalar(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return code(str(schema["const"]))
    kind = str(schema.get("type", "any"))
    if len(schema.get("enum", ())) > 10:
        return "string, one of the error codes"
    if "enum" in schema:
        text = ", ".join(code(str(value)) for value in schema["enum"])
    elif schema.get("format") == "date-time":
        text = "time"
    elif kind == "object":
        text = "object of strings" if schema.get("additionalProperties") == {"type": "string"} else "object"
    else:
        low = schema.get("minLength", schema.get("minimum"))
        high = schema.get("maxLength", schema.get("maximum"))
        text = f"{kind}{_range(low, high, 'characters' if kind == 'string' else '')}"
        if "exclusiveMinimum" in schema:
            text = f"{kind}, more than {schema['exclusiveMinimum']:,g}" + (f", at most {high:,}" if high else "")
    default = schema.get("default")
    if default is None or default == "":
        return text
    return f"{text}, default {code(str(default).lower() if isinstance(default, bool) else str(default))}"


def _range(low: float | None, high: float | None, noun: str) -> str:
    noun = f" {noun}" if noun else ""
    if low is None and high is None:
        return ""
    if high is None:
        if noun and low == 1:
            return ", not empty"
        return f", at least {low:,}{noun}"
    return f", at most {high:,}{noun}" if low is None else f", {low:,} to {high:,}{noun}"
