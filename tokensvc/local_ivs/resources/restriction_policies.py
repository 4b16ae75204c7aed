"""Playback restriction policies: what is theirs alone.

Sources: API reference, CreatePlaybackRestrictionPolicy and PlaybackRestrictionPolicy; IVS user guide, "Service Quotas"
(200 countries, 5 origins) and "Undesired Content and Viewers".
INFERRED
- On a create too many countries or origins exceed a quota (402); an update lists no such error, so it is a validation.
- An origin is spelt as a playback token's: both pages show the same forms. The model's 128 characters hold, where the
  quota page says 256.
- A policy may be changed while a live channel uses it: the CLI's page says that a change does not reach an ongoing
  stream, so the ConflictException that the operation lists is never raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.countries import COUNTRIES
from tokensvc.local_ivs.errors import Violation, quota_exceeded
from tokensvc.local_ivs.transaction import Body, OperationCall
from tokensvc.tokens.origins import check_origin

DEFAULTS: Mapping[str, Any] = {
    "name": "",  # INFERRED
    "allowedCountries": [],
    "allowedOrigins": [],
    "enableStrictOriginEnforcement": False,
    "tags": {},
}
MOST: Mapping[str, int] = {"allowedCountries": 200, "allowedOrigins": 5}
"""Member -> how many a policy may hold."""


def know_countries(_: OperationCall, request: Mapping[str, Any], __: Body) -> Iterator[Violation]:
    """Only officially assigned codes, in capitals as ISO has them."""
    for number, country in enumerate(request.get("allowedCountries", ()), 1):
        if country not in COUNTRIES:
            yield Violation(f"allowedCountries.{number}.member", "Member must be an ISO 3166-1 alpha-2 country code")


def spell_origins(_: OperationCall, request: Mapping[str, Any], __: Body) -> Iterator[Violation]:
    """Only what a browser could send, or a pattern of it."""
    for number, origin in enumerate(request.get("allowedOrigins", ()), 1):
        try:
            check_origin(origin)
        except ValueError as rule:
            yield Violation(f"allowedOrigins.{number}.member", f"Member {rule}")


def change_within_quotas(_: OperationCall, request: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """An update may not go beyond what a create may hold."""
    if "arn" in request:
        for member, most in MOST.items():
            if len(body[member]) > most:
                yield Violation(member, f"Member must have length less than or equal to {most}")


def finish(_: OperationCall, __: Arn, ___: str, body: Body) -> str:
    """A new policy keeps the quotas of its members; nothing of it must be unique."""
    for member, most in MOST.items():
        if len(body[member]) > most:
            raise quota_exceeded(f"The quota is reached: {most} {member} per playback restriction policy")
    return ""
