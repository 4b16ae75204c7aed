"""JSON objects from outside: request bodies, the items of a batch, the lines of a file.

Invariants
- A name that occurs twice in one object is rejected: two parsers could choose different values for it.
- Finding out costs little, because it is done for every request body: a text has two quotation marks for each string in
  it, and a parser that drops a member drops at least its name, so the text and what was parsed from it have equally
  many only if nothing was dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tokensvc.errors import FieldError, InvalidRequest, MalformedRequest
from tokensvc.jose.strict_json import repeated_names
from tokensvc.validation_errors import MAX_ERRORS, others, shown_name, shown_path

MAX_ITEM_FIELDS = 200
"""Of an item of a batch. None has a tenth of them."""
_MAX_SEARCHED = 8_000
"""Quotation marks and brackets of a text in which the duplicate names are looked for: enough for a usual batch. To know
that there are some takes a hundredth of the time."""


def json_object(text: bytes, what: str = "the body") -> dict[str, Any]:
    """Parse a JSON object; `what` describes the text in messages. Raises MalformedRequest, or InvalidRequest naming
    each field that is given twice."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not text.strip():
            raise MalformedRequest(f"{what} is empty") from None
        raise MalformedRequest(f"{what} is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise MalformedRequest(f"{what} must be a JSON object")
    try:
        is_repeated = has_repeated_names(text, value)
    except orjson.JSONEncodeError:
        raise MalformedRequest(f"{what} is nested too deeply") from None
    if is_repeated:
        raise _repeated(text, what)
    return value


def has_repeated_names(text: bytes, value: dict[str, Any]) -> bool:
    """Whether an object in this text has duplicate names. `value` is the result of parsing the text. Raises
    orjson.JSONEncodeError for a value that is nested in more than 254 levels."""
    return _quotation_marks(text) != _quotation_marks(orjson.dumps(value))


def _quotation_marks(text: bytes) -> int:
    """How many quotation marks begin or end a string."""
    marks = text.count(b'"')
    if b"\\" in text:
        # Pairs of backslashes are removed first; a backslash that is left before a quotation mark escapes it.
        marks -= text.replace(b"\\\\", b"").count(b'\\"')
    return marks


def _repeated(text: bytes, what: str) -> InvalidRequest:
    unnamed = InvalidRequest([], f"a field of {what} is given twice")
    if sum(map(text.count, (b'"', b"{", b"["))) > _MAX_SEARCHED:
        return unnamed
    paths = repeated_names(text)
    named = [FieldError(shown_path(path), "must be given once") for path in paths[:MAX_ERRORS]]
    return InvalidRequest(named + others(len(paths)))


def batch_items(body: dict[str, Any], name: str, max_items: int) -> list[object]:
    """The items of a batch, the only field of its body. Raises InvalidRequest naming every bad field."""
    unknown = [field for field in body if field != name]
    errors = [FieldError(shown_name(field), "is not a known field") for field in unknown[:MAX_ERRORS]]
    errors += others(len(unknown))
    items = body.get(name)
    if not isinstance(items, list) or not 1 <= len(items) <= max_items:
        errors.append(FieldError(name, f"must be a list of 1 to {max_items} {name}"))
    if errors or not isinstance(items, list):
        raise InvalidRequest(errors)
    return items


def batch_item(items: Sequence[object], position: int, name: str) -> dict[str, Any]:
    """One item of a batch. Raises InvalidRequest naming the item if it is not an object, or has so many fields that to
    name the unknown ones would hold up other requests."""
    item = items[position]
    if not isinstance(item, dict):
        raise InvalidRequest([FieldError(f"{name}[{position}]", "must be an object")])
    if len(item) > MAX_ITEM_FIELDS:
        raise InvalidRequest([FieldError(f"{name}[{position}]", f"must have at most {MAX_ITEM_FIELDS} fields")])
    return item
