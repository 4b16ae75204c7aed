"""How the options of `ivs serve` about the playback edge are read."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from tokensvc.cli.output import print_progress
from tokensvc.errors import FieldError, SettingsError
from tokensvc.local_ivs.edge.countries import CountryDatabase, CountryHeader, CountrySource, NoCountries
from tokensvc.local_ivs.media.library import open_media
from tokensvc.local_ivs.media.loop import MediaLibrary

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


def media_library(choice: str, cache: Path) -> MediaLibrary:
    """What the edge plays. Making it takes seconds, of which a few lines of progress tell. Raises SettingsError."""
    printed, lock = 0, threading.Lock()

    def print_share(done: float) -> None:
        """Print each quarter once; called from several threads."""
        nonlocal printed
        with lock:
            quarter = int(done * 4)
            if quarter > printed:
                printed = quarter
                print_progress(f"Preparing what the edge plays: {quarter * 25} %")

    return open_media(choice, cache, print_share)


def _invalid(option: str, rule: str) -> SettingsError:
    return SettingsError([FieldError(option, rule)])
