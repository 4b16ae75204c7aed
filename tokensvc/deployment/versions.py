"""Versions of the store's contents: the cheap query with which workers detect changes, about once a second.

Invariants
- A version is a number and a tag. Each change increments the number and draws a new random tag inside its own
  transaction, so a reader that saw a version sees everything up to it, and equal versions mean equal contents.
- Numbers alone do not identify a state: a store that was restored from a backup counts through the same numbers again.
  Therefore the store keeps the tags of its recent versions, and a reader asks whether the versions that it has read
  are still part of the store's history before it reads on from there.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

_Row = TypeVar("_Row")

Versioned = Literal["deployment", "keys", "callers", "channels", "denials"]
"""The parts of the store that workers hold a snapshot of."""


class Version(NamedTuple):
    """The version of one part: how many changes led to it, and the random tag of the last one."""

    number: int
    tag: str = ""


NEVER_READ = Version(-1)
"""The version of a reader that has read nothing; it is part of every history."""


class StoreVersions(NamedTuple):
    """One reading: the store's clock in Unix seconds, and the version of each part."""

    now: float
    deployment: Version
    keys: Version
    callers: Version
    channels: Version
    denials: Version

    def by_name(self) -> dict[Versioned, Version]:
        """The versions by the name of the part."""
        return {
            "deployment": self.deployment,
            "keys": self.keys,
            "callers": self.callers,
            "channels": self.channels,
            "denials": self.denials,
        }


class Position(NamedTuple):
    """How far a part that is read change by change has been read: all rows up to `number`, from a store whose history
    contains `history`. Reading on from there is valid only while the store's history still contains it."""

    number: int = 0
    history: Version = NEVER_READ


class ChangePage(NamedTuple, Generic[_Row]):
    """A page of changed rows, by number, and the position after them."""

    rows: list[_Row]
    position: Position
    damaged: Mapping[str, str] = {}
    """By the row's name, why it cannot be read; a row of which nothing can be read is left out of `rows`."""

    @property
    def is_last(self) -> bool:
        """Whether everything has been read; a page without rows is not necessarily the last."""
        return self.position.number >= self.position.history.number


class Versions(Protocol):
    """The store's versions."""

    def read(self) -> StoreVersions:
        """Read the store's clock and all versions in one query."""
        ...

    def check_history(self, seen: Mapping[Versioned, Version]) -> None:
        """Raise StoreReplaced unless all these versions are part of the store's history."""
        ...
