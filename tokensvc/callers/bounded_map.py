"""A map that holds a bounded number of keys, in two generations.

Invariants
- When the younger generation is full it becomes the older one, and what the older one held is forgotten: no scan, and
  no order to maintain. A key that is put again moves to the younger generation, so keys in use are kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class BoundedMap(Generic[_Key, _Value]):
    """At most `max_keys` keys."""

    __slots__ = ("_half", "_older", "_younger")

    def __init__(self, max_keys: int) -> None:
        self._half = max(1, max_keys // 2)
        self._younger: dict[_Key, _Value] = {}
        self._older: dict[_Key, _Value] = {}

    def __len__(self) -> int:
        """The number of keys held; one that is in both generations counts twice."""
        return len(self._younger) + len(self._older)

    def get(self, key: _Key) -> _Value | None:
        """The value of a key; None if there is none, or it was forgotten."""
        value = self._younger.get(key)
        return self._older.get(key) if value is None else value

    def put(self, key: _Key, value: _Value) -> None:
        """Set the value of a key."""
        if len(self._younger) >= self._half and key not in self._younger:
            self._younger, self._older = {}, self._younger
        self._younger[key] = value
