"""The claims of a playback token: their names, types and limits.

Invariants
- Every rule that IVS documents for a claim (user guide, "Generate and Sign Playback Tokens", and "Server-Side Ad
  Insertion" for `ads-reporting-mode`) is one `check_…` function here. Token requests are checked with it before
  signing; the local edge and `explain` check other people's tokens with the same function.
- A check returns the value or raises ValueError with the rule, never with the value.
- `exp` is in whole seconds and set by the server: AWS's own sample writes milliseconds, which the user guide forbids.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tokensvc.aws.arn import parse_arn
from tokensvc.origins import STRICT_MAX_ENTRIES, check_origin, split_origins

CHANNEL_ARN = "aws:channel-arn"
ALLOW_ORIGIN = "aws:access-control-allow-origin"
STRICT_ORIGIN = "aws:strict-origin-enforcement"
SINGLE_USE_UUID = "aws:single-use-uuid"
VIEWER_ID = "aws:viewer-id"
VIEWER_SESSION_VERSION = "aws:viewer-session-version"
MAXIMUM_RESOLUTION = "aws:maximum-resolution"
ADS_OPT_OUT = "aws:ads-opt-out"
ADS_PLAYER_PARAMS = "aws:ads-player-params"
ADS_PLAYBACK_CONFIG_NAME = "aws:ads-playback-config-name"
ADS_REPORTING_MODE = "aws:ads-reporting-mode"
EXP = "exp"

VIEWER_ID_MAX_CHARS = 40
"""INFERRED: A character of a viewer id is a Unicode code point, which is how Smithy, the language of IVS's API model,
counts a string's length. The model and the user guide say 40 characters without defining one."""
ADS_PLAYER_PARAMS_MAX_BYTES = 1000
MAXIMUM_RESOLUTIONS = ("SD", "HD", "FULL_HD")
ADS_REPORTING_MODES = ("CLIENT", "SERVER")

TEN_MINUTES_SECONDS = 600
"""With a viewer id or a single use, `exp` may be at most this far ahead."""

DEFAULT_VIEWER_SESSION_VERSION = 0
"""The session version of a token that has a viewer id and no version."""

EXP_SKEW_ALLOWANCE_SECONDS = 10
"""INFERRED: Where IVS allows ten minutes, `exp` stays 10 seconds below that, because a token that is issued for the
full time by a clock that is ahead of IVS's would be rejected. AWS documents no leeway."""

TOKEN_MAX_BYTES = 2000
"""INFERRED: The quota of 2 KB for a whole token is taken as 2,000 bytes. The quota page does not say whether it is
2,000 or 2,048, and the lower number is safe in both cases."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INT64 = 1 << 63


def check_channel_arn(value: object) -> str:
    parse_arn(_string(value), "channel")
    return str(value)


def check_allow_origin(value: object) -> str:
    for entry in split_origins(_string(value)):
        check_origin(entry)
    return str(value)


def check_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def check_single_use_uuid(value: object) -> str:
    if not _UUID.fullmatch(_string(value)):
        raise ValueError("must be a UUID")
    return str(value)


def check_viewer_id(value: object) -> str:
    if not 1 <= len(_string(value)) <= VIEWER_ID_MAX_CHARS:
        raise ValueError(f"must have 1 to {VIEWER_ID_MAX_CHARS} characters")
    return str(value)


def check_viewer_session_version(value: object) -> int:
    return _int64(value)


def check_maximum_resolution(value: object) -> str:
    return _one_of(value, MAXIMUM_RESOLUTIONS)


def check_ads_player_params(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError("must be an object whose values are strings")
    if sum(len(f"{k}{v}".encode(errors="surrogatepass")) for k, v in value.items()) > ADS_PLAYER_PARAMS_MAX_BYTES:
        raise ValueError(f"keys and values together must have at most {ADS_PLAYER_PARAMS_MAX_BYTES} bytes")
    return value


def check_ads_playback_config_name(value: object) -> str:
    if not _string(value):
        raise ValueError("must not be empty")
    return str(value)


def check_ads_reporting_mode(value: object) -> str:
    return _one_of(value, ADS_REPORTING_MODES)


def check_exp(value: object) -> int:
    return _int64(value)


CHECKS: dict[str, Callable[[object], object]] = {
    CHANNEL_ARN: check_channel_arn,
    ALLOW_ORIGIN: check_allow_origin,
    STRICT_ORIGIN: check_boolean,
    SINGLE_USE_UUID: check_single_use_uuid,
    VIEWER_ID: check_viewer_id,
    VIEWER_SESSION_VERSION: check_viewer_session_version,
    MAXIMUM_RESOLUTION: check_maximum_resolution,
    ADS_OPT_OUT: check_boolean,
    ADS_PLAYER_PARAMS: check_ads_player_params,
    ADS_PLAYBACK_CONFIG_NAME: check_ads_playback_config_name,
    ADS_REPORTING_MODE: check_ads_reporting_mode,
    EXP: check_exp,
}
"""Every documented claim, with the check of its type and value."""


def check_strict_origins(strict: bool, entries: int) -> None:
    """Raise ValueError for more than five origins with strict enforcement (IVS user guide, "Generate and Sign Playback
    Tokens")."""
    if strict and entries > STRICT_MAX_ENTRIES:
        raise ValueError(f"must have at most {STRICT_MAX_ENTRIES} origins with strict origin enforcement")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _int64(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be an integer")
    if not -_INT64 <= value < _INT64:
        raise ValueError("must fit in 64 bits")
    return value


def _one_of(value: object, allowed: tuple[str, ...]) -> str:
    if _string(value) not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return str(value)
