"""What changed since last time: the cheap question that each worker asks the store about once a second.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or StoreUnfit.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class StoreVersions(NamedTuple):
    """One reading: the store's clock and the version number of each thing that workers hold a snapshot of.

    A number is raised inside the transaction that changes the thing (`UPDATE … SET n = n + 1 RETURNING n`), so a
    reader that saw a number sees everything up to it.
    """

    now: float
    deployment: int
    keys: int
    callers: int
    channels: int
    denials: int = 0


class Versions(Protocol):
    def read(self) -> StoreVersions:
        """Read the store's clock (Unix seconds) and all version numbers in one query."""
        ...
