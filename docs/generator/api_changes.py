"""What has changed between two OpenAPI documents of the service: additions, and changes that break clients.

Invariants
- A change breaks clients if a program that was written or generated for the old document can fail: it cannot send what
  it sent, does not understand what it receives, or does not find a name that it uses.
- What the service accepts may widen, and what it sends may not: a field of a request may become optional, a member of a
  response may not.
- Texts, titles and examples are not part of the contract.
- Schemas are compared by name. A name is part of the contract, because generators use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

EXTENSIBLE_ENUMS = {"ProblemCode"}
"""Enums of responses that may get values: clients are told to tolerate unknown ones."""
_LOWER_LIMITS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_LIMITS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_NOTHING: Mapping[str, Any] = {}
ADVICE = """\
Make it an addition instead: add an optional field, another operation or another name, and leave the old one in place.
If clients must change, say so in CHANGELOG.md, raise the version as docs/reference/version-policy.md says, and store
the new document with: make reference BREAKING=accepted"""


class Change(NamedTuple):
    """One difference."""

    breaks_clients: bool
    where: str
    """An operation, or a schema and field of it."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def api_changes(old: Schema, new: Schema) -> list[Change]:
    """The differences between two documents that concern clients, sorted."""
    return sorted([*_operation_changes(old, new), *_component_changes(old, new)], key=str)


def breaking_changes(old: Schema, new: Schema) -> list[Change]:
    """Those that break clients."""
    return [change for change in api_changes(old, new) if change.breaks_clients]


def _breaks(where: str, what: str) -> Change:
    return Change(True, where, what)


def _adds(where: str, what: str) -> Change:
    return Change(False, where, what)


def _operations(document: Schema) -> dict[str, Schema]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _operation_changes(old: Schema, new: Schema) -> Iterator[Change]:
    before, after = _operations(old), _operations(new)
    for name in before.keys() - after.keys():
        yield _breaks(name, "the operation is gone")
    for name in after.keys() - before.keys():
        yield _adds(name, "a new operation")
    for name in before.keys() & after.keys():
        yield from _changes_of_operation(name, before[name], after[name])


def _changes_of_operation(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    for member in ("operationId", "tags"):
        if old.get(member) != new.get(member):
            yield _breaks(where, f"`{member}` was {old.get(member)} and is {new.get(member)}")
    yield from _security_changes(where, old, new)
    yield from _parameter_changes(where, old, new)
    yield from _body_changes(where, old, new)
    before, after = old["responses"], new["responses"]
    for status in before.keys() - after.keys():
        yield _breaks(where, f"the response {status} is gone")
    for status in after.keys() - before.keys():
        if status.startswith("2"):
            yield _breaks(where, f"succeeds with {status}, too")
        else:
            yield _adds(where, f"a new response {status}")
    for status in before.keys() & after.keys():
        yield from _content_changes(f"{where}, response {status}", before[status], after[status], _sent)
        yield from _header_changes(f"{where}, response {status}", before[status], after[status])


def _security_changes(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    before = [tuple(sorted(each)) for each in old.get("security", ())]
    after = [tuple(sorted(each)) for each in new.get("security", ())]
    for each in before:
        if each not in after:
            yield _breaks(where, f"no longer accepts {' and '.join(each)}") if after else _adds(where, "is open to all")
    if after and not before:
        yield _breaks(where, "requires credentials")
    elif before:
        yield from (_adds(where, f"also accepts {' and '.join(each)}") for each in after if each not in before)


def _parameter_changes(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    before = {(each["in"], each["name"]): each for each in old.get("parameters", ())}
    after = {(each["in"], each["name"]): each for each in new.get("parameters", ())}
    for place, name in before.keys() - after.keys():
        yield _breaks(where, f"the {place} parameter {name} is gone")
    for key in after.keys() - before.keys():
        if after[key].get("required"):
            yield _breaks(where, f"a new required {key[0]} parameter {key[1]}")
        else:
            yield _adds(where, f"a new optional {key[0]} parameter {key[1]}")
    for key in before.keys() & after.keys():
        name = f"{where}, parameter {key[1]}"
        if after[key].get("required") and not before[key].get("required"):
            yield _breaks(name, "has become required")
        yield from _received(name, before[key]["schema"], after[key]["schema"])


def _body_changes(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    before, after = old.get("requestBody"), new.get("requestBody")
    if before is None and after is not None:
        yield (_breaks if after.get("required") else _adds)(where, "a new request body")
    elif before is not None and after is None:
        yield _breaks(where, "the request body is gone")
    elif before is not None and after is not None:
        if after.get("required") and not before.get("required"):
            yield _breaks(where, "the request body has become required")
        yield from _content_changes(f"{where}, request body", before, after, _received)


_Compare = Callable[[str, Schema, Schema], Iterator[Change]]


def _content_changes(where: str, old: Schema, new: Schema, compare: _Compare) -> Iterator[Change]:
    before, after = old.get("content", _NOTHING), new.get("content", _NOTHING)
    for media_type in before.keys() - after.keys():
        yield _breaks(where, f"{media_type} is gone")
    for media_type in after.keys() - before.keys():
        yield _adds(where, f"also {media_type}")
    for media_type in before.keys() & after.keys():
        yield from compare(where, before[media_type]["schema"], after[media_type]["schema"])


def _header_changes(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    for name in old.get("headers", _NOTHING).keys() - new.get("headers", _NOTHING).keys():
        yield _breaks(where, f"the header {name} is gone")


def _component_changes(old: Schema, new: Schema) -> Iterator[Change]:
    before, after = old["components"]["schemas"], new["components"]["schemas"]
    received, sent = _names_used(old, ("requestBody", "parameters")), _names_used(old, ("responses",))
    for name in before.keys() - after.keys():
        yield _breaks(name, "the schema is gone")
    for name in after.keys() - before.keys():
        yield _adds(name, "a new schema")
    for name in before.keys() & after.keys():
        found = [_received(name, before[name], after[name])] if name in received else []
        found += [_sent(name, before[name], after[name])] if name in sent else []
        yield from dict.fromkeys(change for changes in found for change in changes)


def _names_used(document: Schema, members: tuple[str, ...]) -> set[str]:
    """The schemas that these members of operations refer to, directly or not."""
    pending: list[Any] = [o.get(member) for o in _operations(document).values() for member in members]
    if "responses" in members:
        pending.append(document["components"].get("responses"))
    found: set[str] = set()
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            name = str(part.get("$ref", "")).removeprefix("#/components/schemas/")
            if name in document["components"]["schemas"] and name not in found:
                found.add(name)
                pending.append(document["components"]["schemas"][name])
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return found


def _received(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    """The changes of something that the service accepts: it may widen."""
    yield from _changes_of_kind(where, old, new, wider=_adds, narrower=_breaks)
    yield from _limit_changes(where, old, new)
    if old.get("additionalProperties", True) is not False and new.get("additionalProperties") is False:
        yield _breaks(where, "no longer accepts unknown fields")
    before, after = old.get("properties", _NOTHING), new.get("properties", _NOTHING)
    required_before, required = old.get("required", ()), new.get("required", ())
    for name in before.keys() - after.keys():
        yield _breaks(f"{where}.{name}", "the field is gone")
    for name in after.keys() - before.keys():
        yield (
            _breaks(f"{where}.{name}", "a new required field")
            if name in required
            else _adds(f"{where}.{name}", "a new optional field")
        )
    for name in before.keys() & after.keys():
        if name in required and name not in required_before:
            yield _breaks(f"{where}.{name}", "has become required")
        elif name in required_before and name not in required:
            yield _adds(f"{where}.{name}", "has become optional")
        yield from _received(f"{where}.{name}", before[name], after[name])
    yield from _changes_of_parts(where, old, new, _received)


def _sent(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    """The changes of something that the service sends: it may not widen, and names stay."""
    wider = _adds if where in EXTENSIBLE_ENUMS else _breaks
    yield from _changes_of_kind(where, old, new, wider=wider, narrower=_breaks)
    if old.get("format") != new.get("format"):
        yield _breaks(where, f"the format was {old.get('format')} and is {new.get('format')}")
    before, after = old.get("properties", _NOTHING), new.get("properties", _NOTHING)
    required_before, required = old.get("required", ()), new.get("required", ())
    for name in before.keys() - after.keys():
        yield _breaks(f"{where}.{name}", "the member is gone")
    for name in after.keys() - before.keys():
        yield _adds(f"{where}.{name}", "a new member")
    for name in before.keys() & after.keys():
        if name in required_before and name not in required:
            yield _breaks(f"{where}.{name}", "may be missing now")
        elif name in required and name not in required_before:
            yield _adds(f"{where}.{name}", "is always there now")
        yield from _sent(f"{where}.{name}", before[name], after[name])
    yield from _changes_of_parts(where, old, new, _sent)


def _changes_of_parts(where: str, old: Schema, new: Schema, compare: _Compare) -> Iterator[Change]:
    for member, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(old.get(member), Mapping) and isinstance(new.get(member), Mapping):
            yield from compare(f"{where}{suffix}", old[member], new[member])


_Report = Callable[[str, str], Change]


def _changes_of_kind(where: str, old: Schema, new: Schema, *, wider: _Report, narrower: _Report) -> Iterator[Change]:
    """Changes of what a value can be: its type or types, alternatives, and listed values."""
    if old.get("$ref") != new.get("$ref"):
        yield _breaks(where, f"was {_named(old)} and is {_named(new)}")
        return
    for what, before, after in (
        ("type", _types(old), _types(new)),
        ("alternative", _alternatives(old), _alternatives(new)),
    ):
        yield from (narrower(where, f"the {what} {each} is gone") for each in before if each not in after)
        yield from (wider(where, f"a new {what} {each}") for each in after if each not in before)
    listed, listed_now = _values(old), _values(new)
    if listed is not None and listed_now is not None:
        yield from (narrower(where, f"the value {each!r} is gone") for each in listed if each not in listed_now)
        yield from (wider(where, f"a new value {each!r}") for each in listed_now if each not in listed)
    elif listed is not None:
        yield wider(where, "any value, no longer one of a list")
    elif listed_now is not None:
        yield narrower(where, "only listed values")


def _named(schema: Schema) -> str:
    return str(schema.get("$ref", schema.get("type"))).rpartition("/")[2]


def _types(schema: Schema) -> list[str]:
    """The types; every integer is a number, too."""
    kind = schema.get("type", [])
    kinds = [kind] if isinstance(kind, str) else [*kind]
    return [*kinds, "integer"] if "number" in kinds else kinds


def _alternatives(schema: Schema) -> list[str]:
    return [_named(each) for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return None if "enum" not in schema else [*schema["enum"]]


def _limit_changes(where: str, old: Schema, new: Schema) -> Iterator[Change]:
    for limit in (*_LOWER_LIMITS, *_UPPER_LIMITS):
        before, after = old.get(limit), new.get(limit)
        if before != after:
            rises = before is not None and after is not None and after > before
            narrows = after is not None and (before is None or rises == (limit in _LOWER_LIMITS))
            yield (_breaks if narrows else _adds)(where, f"`{limit}` was {before} and is {after}")
    for rule in ("pattern", "format"):
        if old.get(rule) != new.get(rule):
            report = _adds if new.get(rule) is None else _breaks
            yield report(where, f"`{rule}` was {old.get(rule)} and is {new.get(rule)}")
