"""Where a viewer is: a country by the IP address or by a header, for playback restriction policies.

Invariants
- A country that cannot be determined is None, and such a viewer is served (IVS user guide, "Undesired Content and
  Viewers"). So a private or unknown address, a damaged record and a header without a country restrict nobody.
- A country is one of those that a policy may list: ISO 3166-1 alpha-2, in upper case. Proxies write other values for an
  unknown country (`XX`, `T1`, `ZZ`), which are ignored.
- The header must be one that a proxy sets, replacing what the viewer sent. That is for the operator to ensure.
- No address is logged or stored.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from tokensvc.local_ivs.resources.restriction_policies import COUNTRIES

RequestHeaders = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as in ASGI."""


class CountrySource(Protocol):
    """Determines the country of a viewer."""

    def country_of(self, address: str, headers: RequestHeaders) -> str | None:
        """The country code, or None if it cannot be determined. Never raises."""


class NoCountries:
    """Determines no country, so that policies restrict no viewer by it."""

    def country_of(self, address: str, headers: RequestHeaders) -> str | None:  # noqa: ARG002
        return None


class CountryHeader:
    """The country in a request header that a trusted proxy sets, such as `CloudFront-Viewer-Country`."""

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode("latin-1")

    def country_of(self, address: str, headers: RequestHeaders) -> str | None:  # noqa: ARG002
        values = [value for name, value in headers if name == self._name]
        return _listed(values[0].decode("latin-1").strip()) if len(values) == 1 else None


class CountryDatabase:
    """The country of an IP address in a database file in MaxMind's format (MaxMind DB File Format Specification 2.0).

    The record of an address has the country as in the databases of MaxMind and DB-IP (`country.iso_code`) or of IPinfo
    (`country_code`).
    """

    def __init__(self, path: Path) -> None:
        """Open the file. Raises ValueError with the rule if it cannot be read, or `maxminddb` is not installed."""
        try:
            import maxminddb
        except ImportError:
            rule = "needs the extra geoip, which is not installed: pip install 'tokensvc[geoip]'"
            raise ValueError(rule) from None
        try:
            self._reader = maxminddb.open_database(path)
        except OSError as problem:
            raise ValueError(f"cannot be read: {problem.strerror or 'unknown problem'}") from None
        except (maxminddb.InvalidDatabaseError, ValueError):
            raise ValueError("is not a database in MaxMind's format") from None
        self._unreadable = (ValueError, maxminddb.InvalidDatabaseError)

    def country_of(self, address: str, headers: RequestHeaders) -> str | None:  # noqa: ARG002
        with contextlib.suppress(*self._unreadable):
            parsed = ipaddress.ip_address(address)
            mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
            return _country_of_record(self._reader.get(mapped or parsed))
        return None

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _country_of_record(record: Any) -> str | None:
    if not isinstance(record, dict):
        return None
    country = record.get("country")
    return _listed(country.get("iso_code") if isinstance(country, dict) else record.get("country_code"))


def _listed(code: object) -> str | None:
    """The code in upper case, if a policy may list it."""
    return code.upper() if isinstance(code, str) and code.upper() in COUNTRIES else None
