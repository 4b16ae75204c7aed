"""The client's objects as JSON, and back.

Invariants
- Unknown members of responses are ignored: later releases may add some.
- No message of an error contains a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from tokensvc.client.errors import InvalidResponseError

_T = TypeVar("_T")


def to_json(value: object) -> bytes:
    """A request body. Raises TypeError or ValueError if JSON cannot express it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def to_members(request: object) -> dict[str, Any]:
    """A request as the members of a JSON object, without those that have their default. Raises TypeError for what is no
    request."""
    if not is_dataclass(request) or isinstance(request, type):
        raise TypeError("a request must be an object of tokensvc.client, such as TokenRequest(channel_arn=...)")
    return {
        camel_case(each.name): _plain(each.name, value)
        for each in fields(request)
        if (value := getattr(request, each.name)) != each.default
    }


def _plain(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return instant_text(name, value)
    if is_dataclass(value) and not isinstance(value, type):
        return to_members(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return list(value)


def instant_text(name: str, value: datetime) -> str:
    """A time as in RFC 3339. Raises ValueError, with this name, if it has no time zone."""
    if value.utcoffset() is None:
        raise ValueError(f"{name} must have a time zone, such as datetime.now(UTC)")
    return value.astimezone(UTC).isoformat(timespec="seconds")


@cache
def camel_case(name: str) -> str:
    """`channel_arn` as `channelArn`."""
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


def parse(body: bytes) -> Any:
    """A response body. Raises InvalidResponseError."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidResponseError("the response is not JSON") from None


def from_json(kind: type[_T], value: object) -> _T:
    """An object of this class from the members of a JSON object. Raises InvalidResponseError."""
    return cast("_T", _decoded(kind, value, kind.__name__))


def _decoded(kind: Any, value: object, where: str) -> object:
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise _unexpected(where, "an object")
        found = {}
        for name, member, inner, is_required in _members(kind):
            if member in value:
                found[name] = _decoded(inner, value[member], f"{where}.{member}")
            elif is_required:
                raise InvalidResponseError(f"the response has no {where}.{member}")
        return kind(**found)
    if get_origin(kind) in (Union, UnionType):
        plain = [each for each in get_args(kind) if each is not NoneType]
        return None if value is None else _decoded(plain[0], value, where)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise _unexpected(where, "a list")
        return [_decoded(get_args(kind)[0], each, f"{where}[{index}]") for index, each in enumerate(value)]
    if kind is datetime:
        return _instant(value, where)
    if type(value) is not kind:
        raise _unexpected(where, f"of type {kind.__name__}")
    return value


@cache
def _members(kind: Any) -> list[tuple[str, str, Any, bool]]:
    """Of each field: its name, the member's, its type, and whether it is required."""
    hints = get_type_hints(kind)
    return [(each.name, camel_case(each.name), hints[each.name], each.default is MISSING) for each in fields(kind)]


def _instant(value: object, where: str) -> datetime:
    try:
        if isinstance(value, str) and (instant := datetime.fromisoformat(value)).utcoffset() is not None:
            return instant
    except ValueError:
        pass
    raise _unexpected(where, "a time with an offset")


def _unexpected(where: str, expected: str) -> InvalidResponseError:
    return InvalidResponseError(f"{where} of the response is not {expected}")
