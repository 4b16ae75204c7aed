"""One operation call: everything that a handler may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import not_found
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.pagination import PageTokens
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction

Body = dict[str, Any]
"""The members of a resource or of a response, named as in the service model."""


class TxContext(NamedTuple):
    """One transaction and its time, shared by whatever changes state: an operation or a stream source."""

    transaction: ResourceTransaction
    now: float
    random_string: RandomString


class OperationCall(NamedTuple):
    """One call of an operation: the operation, the caller's account and region, and the transaction it runs in."""

    operation: str
    account_region: AccountRegion
    transaction: ResourceTransaction
    now: float
    random_string: RandomString
    page_tokens: PageTokens
    base_url: str
    """The URL under which the caller reaches the local edge. Playback URLs are rendered from it and never stored."""
    entry_fails: Callable[[], bool] = lambda: False
    """Whether an injected fault applies to the next entry of a batch."""

    @property
    def context(self) -> TxContext:
        """The transaction and time of this call, for functions that stream sources use too."""
        return TxContext(self.transaction, self.now, self.random_string)

    def require(self, arn: str, kind: str | None = None) -> Resource:
        """The resource with this ARN. Raises IvsError if it does not exist or is of another kind.

        INFERRED: A resource of another account or region is reported as not found, not as access denied.
        """
        resource = self.transaction.get(arn)
        if resource is None or resource.account_region != self.account_region:
            raise not_found(arn)
        if kind is not None and resource.kind != kind:
            raise not_found(arn)
        return resource

    def is_live(self, channel_arn: str) -> bool:
        """Whether a channel is live, which rules out most changes to it."""
        return stream_of(self.transaction, channel_arn) is not None


class Handler(NamedTuple):
    """The implementation of one operation: takes a validated request, returns a response that the model renders."""

    handle: Callable[[OperationCall, Mapping[str, Any]], Body]
    writes: bool
    rate_limits: tuple[RateLimit, ...]
    """IVS's published rate limits for the operation, all of which apply."""
