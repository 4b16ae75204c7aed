"""What the local IVS keeps: resources as documents, apart by place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from tokensvc.aws.arn import AccountRegion


class Resource(NamedTuple):
    """One resource of the local IVS. `body` holds its modelled members and what the kind keeps beside them."""

    arn: str
    account_region: AccountRegion
    kind: str
    parent_arn: str
    """The channel of a stream key; "" where a kind has no parent."""
    unique: str
    """What no other of its kind in the place may share (a key pair's public half); "" where nothing is unique."""
    body: Mapping[str, Any]
    created_at: float


class ResourceTransaction(Protocol):
    """Reads and writes that happen wholly or not at all. A writing one is the only one; readers see one state."""

    def get(self, arn: str) -> Resource | None: ...

    def find(
        self, account_region: AccountRegion, kind: str, *, parent_arn: str | None = None, unique: str | None = None
    ) -> list[Resource]:
        """All of a kind in a place that fit, in order of creation."""
        ...

    def page(
        self,
        account_region: AccountRegion,
        kind: str,
        *,
        after: int,
        limit: int,
        parent_arn: str | None = None,
        equal: Mapping[str, str] | None = None,
        newest_first: bool = False,
    ) -> list[tuple[int, Resource]]:
        """At most `limit` of a kind, each with its number in the order of creation, after that number; `equal`
        compares top-level members of the body. Newest first, `after` is where to go on backwards, 0 for the newest.
        Numbers are never given twice."""
        ...

    def count(self, account_region: AccountRegion, kind: str, *, parent_arn: str | None = None) -> int: ...

    def put(self, resource: Resource) -> None:
        """Insert, or replace the one with this ARN; it keeps its number then."""
        ...

    def delete(self, arn: str) -> None:
        """Forget one; nothing happens when there is none."""
        ...


class ResourceStore(Protocol):
    """All resources of the local IVS."""

    def begin(self, *, write: bool) -> AbstractContextManager[ResourceTransaction]:
        """One transaction: committed when the block ends well, undone when it raises."""
        ...

    def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of that name; `make` is what makes it on the first time of asking."""
        ...

    def number(self, name: str) -> float:
        """A number that is stored under a name; 0 until it is."""
        ...

    def store_number(self, name: str, value: float) -> None:
        """Store a number, durably when this returns."""
        ...
