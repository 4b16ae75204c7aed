"""pydantic's validation errors as FieldErrors with messages of our own.

Invariants
- A message states the rule and never repeats the input: someone may have pasted a key into the wrong field.
- A field is named as the caller would write it, if it looks like a name.
- At most MAX_ERRORS errors are named, and the others counted: neither the time nor the response grows with what a
  client makes up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import AfterValidator, ValidationError

from tokensvc.errors import FieldError

MAX_ERRORS = 50
_NAME = re.compile(r"[!-?A-~]{1,40}")  # no space, no @
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be a string",
    "string_unicode": "must be text that UTF-8 can encode",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must have fewer digits",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "value_error": "{error}",
}


def matching(pattern: str, rule: str) -> AfterValidator:
    """A pattern whose message is the rule instead of the pattern. None passes."""

    def check(value: str | None) -> str | None:
        if value is not None and not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


def field_errors(invalid: ValidationError) -> list[FieldError]:
    """pydantic's errors with messages of our own, without the input."""
    errors = [
        FieldError(shown_path(error["loc"]), _message(error["type"], error.get("ctx", {}), error["msg"]))
        for error in _first_errors(invalid)
    ]
    return errors + others(invalid.error_count())


def others(count: int) -> list[FieldError]:
    """What follows the first MAX_ERRORS of so many errors."""
    return [FieldError("(others)", f"{count - MAX_ERRORS} more errors")] if count > MAX_ERRORS else []


def _first_errors(invalid: ValidationError) -> Iterator[Mapping[str, Any]]:
    if invalid.error_count() <= MAX_ERRORS:
        yield from invalid.errors(include_url=False, include_input=False)
        return
    # `errors` makes an object of each, which takes a second for all that fit into one batch.
    text, decoder, end = invalid.json(include_url=False, include_input=False), json.JSONDecoder(), 0
    for _ in range(MAX_ERRORS):
        error, end = decoder.raw_decode(text, end + 1)  # after the bracket or comma
        yield error


def _message(kind: str, limits: Mapping[str, object], default: str) -> str:
    if limits.get("min_length") == 1:
        return "must not be empty"
    return _MESSAGES[kind].format(**limits) if kind in _MESSAGES else default


def shown_name(name: str) -> str:
    """A field's name. Text that is too long for one is not repeated: it may be a token or a key pasted there."""
    return name if _NAME.fullmatch(name) else f"(a name of {len(name)} characters)"


def shown_path(location: Sequence[str | int]) -> str:
    """`ads.playerParams` or `allowedOrigins[2]`, as the caller would write it."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{shown_name(step)}" if path else shown_name(step)
    return path
