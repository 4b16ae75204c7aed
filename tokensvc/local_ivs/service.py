"""LocalIvs: the operations of IVS on a store of its own. No HTTP here; `local_ivs/http/` serves it.

Invariants
- A call is validated, counted by the rate limiter, handled and rendered, all in one transaction: after an error nothing
  has changed.
- An operation is served if it has a handler. An operation without a handler (added by a newer model) is validated,
  then answered with NotImplementedException.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import Clock
from tokensvc.local_ivs import crud, revocations
from tokensvc.local_ivs.errors import not_implemented, unknown_operation
from tokensvc.local_ivs.faults import Faults
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.pagination import PageTokens
from tokensvc.local_ivs.rate_limits import OperationRateLimiter
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.resources import tags
from tokensvc.local_ivs.streams import ad_breaks, session_operations
from tokensvc.local_ivs.streams import operations as stream_operations
from tokensvc.local_ivs.transaction import OperationCall

HANDLERS = {
    **crud.handlers(),
    **tags.HANDLERS,
    **revocations.HANDLERS,
    **stream_operations.HANDLERS,
    **session_operations.HANDLERS,
    **ad_breaks.HANDLERS,
}
"""Operation -> handler, for every operation that is served. A test fails when it differs from the installed model."""
READ_ONLY = frozenset(name for name, handler in HANDLERS.items() if not handler.writes)
"""The operations that change nothing."""


class LocalIvs:
    """IVS's control plane for any number of accounts and regions."""

    def __init__(
        self,
        model: ApiModel,
        resources: ResourceStore,
        clock: Clock,
        random_string: RandomString,
        page_secret: bytes,
        *,
        rate_limiter: OperationRateLimiter | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Without a `rate_limiter` no call is throttled. Of `faults` only those of batch entries are applied here; the
        HTTP application applies the others."""
        self._model = model
        self._resources = resources
        self._clock = clock
        self._random_string = random_string
        self._page_tokens = PageTokens(page_secret)
        self._rate_limiter = rate_limiter
        self._faults = faults or Faults()

    def call(
        self, account_region: AccountRegion, operation: str, request: Mapping[str, Any], base_url: str
    ) -> dict[str, Any]:
        """Execute an operation for an account in a region. Raises IvsError or StoreUnavailable."""
        modelled = self._model.operations.get(operation)
        if modelled is None:
            raise unknown_operation()
        validated = modelled.validate_request(request)
        handler = HANDLERS.get(operation)
        if handler is None:
            raise not_implemented(operation)
        if self._rate_limiter is not None:
            now = self._clock.monotonic()
            self._rate_limiter.acquire(operation, handler.rate_limits, account_region, validated, now)
        with self._resources.begin(write=handler.writes) as transaction:
            call = OperationCall(
                operation=operation,
                account_region=account_region,
                transaction=transaction,
                now=self._clock.now(),
                random_string=self._random_string,
                page_tokens=self._page_tokens,
                base_url=base_url,
                entry_fails=lambda: self._faults.draw_entry(operation),
            )
            return modelled.render_response(handler.handle(call, validated))
