"""JSON objects from outside: request bodies, the items of a batch, the lines of a file.

Invariants
- A name that occurs twice in one object is rejected: two parsers could choose different values for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tokensvc.errors import FieldError, InvalidRequest, MalformedRequest
from tokensvc.jose.strict_json import has_repeated_names, repeated_names
from tokensvc.validation_errors import shown_name, shown_path


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
    if has_repeated_names(text, value):
        raise _repeated(text, what)
    return value


def _repeated(text: bytes, what: str) -> InvalidRequest:
    try:
        paths = repeated_names(text)
    except RecursionError:
        return InvalidRequest([], f"a field of {what} is given twice")
    return InvalidRequest([FieldError(shown_path(path), "must be given once") for path in paths])


def batch_items(body: dict[str, Any], name: str, max_items: int) -> list[object]:
    """The items of a batch, the only field of its body. Raises InvalidRequest naming every bad field."""
    errors = [FieldError(shown_name(field), "is not a known field") for field in body if field != name]
    items = body.get(name)
    if not isinstance(items, list) or not 1 <= len(items) <= max_items:
        errors.append(FieldError(name, f"must be a list of 1 to {max_items} {name}"))
    if errors or not isinstance(items, list):
        raise InvalidRequest(errors)
    return items


def batch_item(items: Sequence[object], position: int, name: str) -> dict[str, Any]:
    """One item of a batch. Raises InvalidRequest naming the item if it is not an object."""
    item = items[position]
    if not isinstance(item, dict):
        raise InvalidRequest([FieldError(f"{name}[{position}]", "must be an object")])
    return item
