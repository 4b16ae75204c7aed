"""The store of the local IVS: resources as documents, separate per account and region."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.session_store import SessionTable


class Resource(NamedTuple):
    """One stored document. `body` holds the modelled members and whatever else the resource's rules store."""

    arn: str
    account_region: AccountRegion
    kind: str
    parent_arn: str
    """The channel of a stream key; "" if the kind has no parent."""
    unique_key: str
    """A value that only one resource of the kind may have per account and region (a key pair's public key); "" if
    nothing has to be unique."""
    body: Mapping[str, Any]
    created_at: float


class ResourceTransaction(Protocol):
    """Atomic reads and writes. Only one writing transaction runs at a time; readers see one consistent state."""

    @property
    def sessions(self) -> SessionTable:
        """The playback sessions."""
        ...

    def get(self, arn: str) -> Resource | None: ...

    def find(
        self,
        account_region: AccountRegion,
        kind: str,
        *,
        parent_arn: str | None = None,
        unique_key: str | None = None,
    ) -> list[Resource]:
        """All matching resources of a kind in an account and region, in order of creation."""
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
        """At most `limit` resources of a kind that follow the number `after`, each with its number in the order of
        creation. `equal` compares top-level members of the body. With `newest_first` the order is reversed, and 0
        starts at the newest. Numbers are never reused."""
        ...

    def count(self, account_region: AccountRegion, kind: str, *, parent_arn: str | None = None) -> int: ...

    def put(self, resource: Resource) -> None:
        """Insert a resource, or replace the one with this ARN, which keeps its number."""
        ...

    def delete(self, arn: str) -> None:
        """Delete a resource. Does nothing if it does not exist."""
        ...


class ResourceStore(Protocol):
    """All resources of the local IVS, and the secrets and numbers that must survive a restart."""

    def begin(self, *, write: bool) -> AbstractContextManager[ResourceTransaction]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        ...

    def get_or_create_secret(self, name: str, create: Callable[[], bytes]) -> bytes:
        """The secret with this name; `create` makes it if there is none."""
        ...

    def get_number(self, name: str) -> float:
        """The number stored under a name; 0 if there is none."""
        ...

    def set_number(self, name: str, value: float) -> None:
        """Store a number. It is durable when this returns."""
        ...
