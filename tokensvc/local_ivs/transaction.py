"""One call of an operation: what a handler may use, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import not_found
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.pagination import PageTokens
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.streams.live_streams import stream_of
from tokensvc.local_ivs.viewers import Viewers

Body = dict[str, Any]
"""A resource's members, as the model names them."""


class TxContext(NamedTuple):
    """One instant and one transaction, whoever acts in it: an operation or a source of streams."""

    transaction: ResourceTransaction
    now: float
    token: RandomString


class OperationCall(NamedTuple):
    """Who calls what, when, and the transaction that all of it happens in."""

    operation: str
    account_region: AccountRegion
    transaction: ResourceTransaction
    now: float
    token: RandomString
    pages: PageTokens
    base_url: str
    """Where the local edge is reached by whoever called; playback URLs are rendered from it and never stored."""
    viewers: Viewers
    entry_fails: Callable[[], bool] = lambda: False
    """Whether the next entry of a batch goes wrong by itself, on request."""

    @property
    def moment(self) -> TxContext:
        """What the call shares with whatever else happens at this instant."""
        return TxContext(self.transaction, self.now, self.token)

    def existing(self, arn: str, kind: str | None = None) -> Resource:
        """The resource of that name. Raises IvsError where there is none.

        INFERRED: what belongs to another account or region is not found, rather than denied.
        """
        resource = self.transaction.get(arn)
        if resource is None or resource.account_region != self.account_region or (kind is not None and resource.kind != kind):
            raise not_found(arn)
        return resource

    def live(self, channel_arn: str) -> bool:
        """Whether a channel is live now: much of it may not be changed then."""
        return stream_of(self.transaction, channel_arn) is not None


class Handler(NamedTuple):
    """The behaviour of one operation: from a checked request to an answer that the model then renders."""

    handle: Callable[[OperationCall, Mapping[str, Any]], Body]
    writes: bool
