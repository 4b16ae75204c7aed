"""Playback restriction policies: who may watch a public channel.

Invariants
- Source: IVS user guide, "Undesired Content and Viewers". With strict enforcement every request needs an allowed
  Origin; without it, origins restrict only browsers. A viewer whose country cannot be determined is served.
- INFERRED: A request to a public channel without the `Origin` that its restriction policy requires gets a 403 of the
  same form as for a token; a header that is not a valid origin is never allowed.
- INFERRED: Countries are checked when playback starts, before the origin. IVS documents no time and no order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokensvc.local_ivs.edge.errors import OTHER_COUNTRY, EdgeError, strict_origin_error
from tokensvc.origins import matches, parse_origin


class Restrictions(NamedTuple):
    """What a playback restriction policy restricts; empty means that all are allowed."""

    countries: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    strict_origin: bool = False

    @classmethod
    def of(cls, policy: Mapping[str, Any] | None) -> Restrictions:
        """The restrictions of a stored policy; none without one."""
        if policy is None:
            return cls()
        return cls(
            tuple(policy["allowedCountries"]), tuple(policy["allowedOrigins"]), policy["enableStrictOriginEnforcement"]
        )

    def violated_by(self, country: Callable[[], str | None], origin: str) -> EdgeError | None:
        """The error for a viewer, or None if it may watch. `country` is called only if countries are restricted."""
        if self.countries and (known := country()) is not None and known not in self.countries:
            return OTHER_COUNTRY
        # As for a token, a header that is not a valid origin is never allowed.
        if self.strict_origin and not (matches(origin, self.origins) if self.origins else parse_origin(origin)):
            return strict_origin_error(origin)
        return None
