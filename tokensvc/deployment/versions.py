"""What changed since last time: the cheap question that each worker asks about once a second.

Invariants
- A version is a number and a tag. Each change increments the number and draws a new random tag inside its own
  transaction, so a reader that saw a version sees everything up to it, and equal versions mean equal contents.
- Numbers alone do not identify a state: a store that was restored from a backup counts through the same numbers again.
  Therefore the store keeps the tags of its recent versions, and a reader asks whether the versions that it has read
  are still part of the store's history before it reads on from there.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

_Row = TypeVar("_Row")

Versioned = Literal["deployment", "keys", "callers", "channels", "denials"]
"""What workers hold a snapshot of."""


class Version(NamedTuple):
    """One state of one thing: how many changes led to it, and the random tag of the last one."""

    number: int
    tag: str = ""


NEVER_READ = Version(-1)
"""What a reader that has read nothing starts from; it is part of every history."""


class StoreVersions(NamedTuple):
    """One reading: the store's clock in Unix seconds, and the version of each thing that workers hold a snapshot of."""

    now: float
    deployment: Version
    keys: Version
    callers: Version
    channels: Version
    denials: Version

    def by_name(self) -> dict[Versioned, Version]:
        """The versions alone."""
        return {
            "deployment": self.deployment,
            "keys": self.keys,
            "callers": self.callers,
            "channels": self.channels,
            "denials": self.denials,
        }


class Position(NamedTuple):
    """How far a thing that is read change by change has been read: all rows up to `number`, from a store whose history
    contains `history`. Reading on from there is right only while the store's history still contains it."""

    number: int = 0
    history: Version = NEVER_READ


class ChangePage(NamedTuple, Generic[_Row]):
    """Some of the rows that changed, by number, and the position after them."""

    rows: list[_Row]
    position: Position
    damaged: Mapping[str, str] = {}
    """By what names the row, why one of these rows cannot be read; it is left out of `rows` where nothing of it can."""

    @property
    def is_last(self) -> bool:
        """Whether everything has been read; a page may be without rows and still not be the last."""
        return self.position.number >= self.position.history.number


class Versions(Protocol):
    def read(self) -> StoreVersions:
        """Read the store's clock and all versions in one query."""
        ...

    def check_history(self, seen: Mapping[Versioned, Version]) -> None:
        """Raise StoreReplaced unless every one of these versions is part of the store's history."""
        ...
