"""Failed authentications: limited per client address, and logged.

Invariants
- Only failures count. A valid API key, or a bearer token that is already verified, is never refused for its address.
- An IPv6 client is counted by its /64, which one subscriber usually has whole.
- A loopback address is not limited: behind it is a proxy on the same machine, for all of its clients.
- The log gets at most LOG_RATE, so that nobody fills it with guesses. A line never has the credentials.
"""

from __future__ import annotations

import ipaddress

from starlette.types import Scope

from tokensvc.callers.limits import GcraTable, rate_limited_error
from tokensvc.callers.policy import Rate
from tokensvc.errors import Unauthenticated
from tokensvc.log import structlog

FAILURE_RATE = Rate(per_minute=30, burst=20)
LOG_RATE = Rate(per_minute=600, burst=10)
MAX_ADDRESSES = 20_000
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_log = structlog.get_logger(__name__)


class FailedLogins:
    """Counts and logs failed authentications in one worker. `now` is in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._addresses = GcraTable(MAX_ADDRESSES)
        self._lines = GcraTable(2)

    def check(self, scope: Scope, now: float) -> None:
        """Raise RateLimited if the client's address has failed too often."""
        network = _network(_address(scope))
        if network and (wait := self._addresses.check(network, FAILURE_RATE, now)):
            raise rate_limited_error("address", FAILURE_RATE, wait)

    def failed(self, error: Unauthenticated, scope: Scope, now: float, request_id: str = "") -> None:
        """Log and count a failure. Raises RateLimited if the client's address has failed too often. A request without
        credentials guesses nothing, and does not count."""
        address = _address(scope)
        if self._lines.take("", LOG_RATE, now) == 0.0:
            _log.warning(
                "authentication failed",
                request_id=request_id,
                reason=str(error.reason),
                key_id=error.key_id,
                caller=error.caller,
                client="-" if address is None else str(address),
            )
        if not error.credentials_sent:
            return
        network = _network(address)
        if network and (wait := self._addresses.take(network, FAILURE_RATE, now)):
            raise rate_limited_error("address", FAILURE_RATE, wait) from None


def _address(scope: Scope) -> _Address | None:
    """The client's address. None if there is none: a trusted proxy may forward any text as the address."""
    client = scope.get("client")
    try:
        return ipaddress.ip_address(client[0]) if client else None
    except ValueError:
        return None


def _network(address: _Address | None) -> str:
    """What failures are counted by; "" where they are not."""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address is None or address.is_loopback:
        return ""
    return str(address) if address.version == 4 else str(ipaddress.ip_network(f"{address}/64", strict=False)).lower()
