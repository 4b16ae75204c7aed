"""How the options of `ivs serve` about the countries of viewers are read."""

from __future__ import annotations

import re
from pathlib import Path

from tokensvc.errors import FieldError, SettingsError
from tokensvc.local_ivs.edge.countries import CountryDatabase, CountryHeader, CountrySource, NoCountries

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name (RFC 9110, section 5.1)."""


def country_source(database: Path | None, header: str | None) -> CountrySource:
    """Where the countries of viewers come from. Raises SettingsError naming the option."""
    if database is not None and header is not None:
        raise _invalid("--country-header", "cannot be combined with --country-database")
    if header is not None:
        if not _HEADER_NAME.fullmatch(header):
            raise _invalid("--country-header", "must be the name of an HTTP header")
        return CountryHeader(header)
    if database is None:
        return NoCountries()
    try:
        return CountryDatabase(database)
    except ValueError as rule:
        raise _invalid("--country-database", str(rule)) from None


def _invalid(option: str, rule: str) -> SettingsError:
    return SettingsError([FieldError(option, rule)])
