"""LocalIvs: the operations of IVS on a store of our own. No HTTP here; `web/local/` puts it on the wire.

Rules of the file
- check -> rate -> handler -> dump. The whole of a call is one transaction: on a refusal nothing has changed.
- An operation is served when something handles it. One that a newer model brings is checked, then refused by name.
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
from tokensvc.local_ivs.model import ServiceModel
from tokensvc.local_ivs.pagination import PageTokens
from tokensvc.local_ivs.rate_limits import OperationRateLimiter
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.resources import tags
from tokensvc.local_ivs.streams import ad_breaks, session_operations
from tokensvc.local_ivs.streams import operations as stream_operations
from tokensvc.local_ivs.transaction import OperationCall
from tokensvc.local_ivs.viewers import Viewers

HANDLERS = {
    **crud.handlers(),
    **tags.HANDLERS,
    **revocations.HANDLERS,
    **stream_operations.HANDLERS,
    **session_operations.HANDLERS,
    **ad_breaks.HANDLERS,
}
"""Operation -> its behaviour."""
READS = frozenset(name for name, handler in HANDLERS.items() if not handler.writes)
"""Operations that change nothing."""


class LocalIvs:
    """IVS's control plane for any number of accounts and regions."""

    def __init__(
        self,
        model: ServiceModel,
        resources: ResourceStore,
        clock: Clock,
        token: RandomString,
        page_secret: bytes,
        *,
        viewers: Viewers | None = None,
        rates: OperationRateLimiter | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Without `rates` every call goes through, however many there are. Of `faults` only those of single entries
        strike here; whoever serves calls draws the others."""
        self._model = model
        self._resources = resources
        self._clock = clock
        self._token = token
        self._pages = PageTokens(page_secret)
        self._viewers = viewers or Viewers()
        self._rates = rates
        self._faults = faults or Faults()

    def call(self, account_region: AccountRegion, operation: str, request: Mapping[str, Any], base_url: str) -> dict[str, Any]:
        """Perform an operation for an account in a region. Raises IvsError, or StoreUnavailable."""
        described = self._model.operations.get(operation)
        if described is None:
            raise unknown_operation()
        checked = described.check(request)
        handler = HANDLERS.get(operation)
        if handler is None:
            raise not_implemented(operation)
        if self._rates is not None:
            self._rates.take(operation, account_region, checked, self._clock.monotonic())
        with self._resources.begin(write=handler.writes) as transaction:
            now = self._clock.now()
            call = OperationCall(operation, account_region, transaction, now, self._token, self._pages, base_url, self._viewers)
            call = call._replace(entry_fails=lambda: self._faults.draw_entry(operation))
            return described.dump(handler.handle(call, checked))
