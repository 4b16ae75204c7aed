"""Checks OpenTelemetry's own variables, which say where traces are exported to and how.

Invariants
- Its library is not loaded: the parent of several workers checks them, once, and exports nothing.
- The library replaces a value that it cannot use by its default, with a line in its log. Here it is an error.
- A message never repeats a value: it may be a secret that was put into the wrong variable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from tokensvc.errors import FieldError, SettingsError

_PREFIX = "OTEL_EXPORTER_OTLP_"


def check_otel_variables(environ: Mapping[str, str]) -> None:
    """Raise SettingsError with each variable that cannot be used."""
    rules: tuple[tuple[str, Callable[[str], bool], str], ...] = (
        ("ENDPOINT", _is_url, "must begin with http:// or https://"),
        ("TIMEOUT", _is_positive, "must be a number of seconds above 0"),
        ("COMPRESSION", {"none", "gzip", "deflate"}.__contains__, "must be none, gzip or deflate"),
        ("PROTOCOL", {"http/protobuf"}.__contains__, "must be http/protobuf, the only protocol that is supported"),
    )
    errors = [
        FieldError(name, rule)
        for suffix, is_valid, rule in rules
        for name in (_PREFIX + suffix, f"{_PREFIX}TRACES_{suffix}")
        if (value := environ.get(name, "").strip()) and not is_valid(value)
    ]
    if errors:
        raise SettingsError(errors)


def _is_url(value: str) -> bool:
    return re.match(r"https?://[^/]", value) is not None


def _is_positive(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False
