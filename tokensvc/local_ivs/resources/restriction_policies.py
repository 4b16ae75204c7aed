"""Playback restriction policies.

Sources: API reference, CreatePlaybackRestrictionPolicy and PlaybackRestrictionPolicy; IVS user guide, "Service Quotas"
(200 countries, 5 origins) and "Undesired Content and Viewers".

INFERRED: A playback restriction policy can be changed while a live channel uses it: the CLI's page says that a change
does not affect an ongoing stream, so the ConflictException that the operation lists is never raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.errors import Violation, quota_exceeded
from tokensvc.local_ivs.resources.types import ResourceType, limited
from tokensvc.local_ivs.transaction import Body, OperationCall
from tokensvc.origins import check_origin

MEMBER_QUOTAS: Mapping[str, int] = {"allowedCountries": 200, "allowedOrigins": 5}
"""Member -> the maximum number of entries per policy."""

_COUNTRY_CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
    MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV
    TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRY_CODES.split())
"""The 249 officially assigned country codes, ISO 3166-1 alpha-2. Source: ISO 3166 Maintenance Agency. Reserved and
user-assigned codes (UK, EU, XK, ZZ …) are not among them."""


def validate_countries(_: OperationCall, request: Mapping[str, Any], __: Body) -> Iterator[Violation]:
    """Countries must be officially assigned codes of ISO 3166-1 alpha-2, in upper case."""
    for number, country in enumerate(request.get("allowedCountries", ()), 1):
        if country not in COUNTRIES:
            yield Violation(f"allowedCountries.{number}.member", "Member must be an ISO 3166-1 alpha-2 country code")


def validate_origins(_: OperationCall, request: Mapping[str, Any], __: Body) -> Iterator[Violation]:
    """Origins must be what a browser can send, or a pattern of it.

    INFERRED: An origin of a playback restriction policy has the syntax of a playback token's origins, since both pages
    show the same forms. The model's limit of 128 characters applies, although the quota page says 256.
    """
    for number, origin in enumerate(request.get("allowedOrigins", ()), 1):
        try:
            check_origin(origin)
        except ValueError as rule:
            yield Violation(f"allowedOrigins.{number}.member", f"Member {rule}")


def validate_quotas_of_update(_: OperationCall, request: Mapping[str, Any], body: Body) -> Iterator[Violation]:
    """A policy has at most 200 countries and 5 origins.

    INFERRED: Too many countries or origins in an update of a policy are a ValidationException, since the operation
    lists no error for quotas. In a create they are a ServiceQuotaExceededException.
    """
    if "arn" in request:
        for member, quota in MEMBER_QUOTAS.items():
            if len(body[member]) > quota:
                yield Violation(member, f"Member must have length less than or equal to {quota}")


def check_quotas(_: OperationCall, __: Arn, ___: str, body: Body) -> str:
    """Too many countries or origins in a new policy are a ServiceQuotaExceededException.

    No member has to be unique.
    """
    for member, quota in MEMBER_QUOTAS.items():
        if len(body[member]) > quota:
            raise quota_exceeded(f"The quota is reached: {quota} {member} per playback restriction policy")
    return ""


RESTRICTION_POLICY = ResourceType(
    kind="playback-restriction-policy",
    member="playbackRestrictionPolicy",
    list_member="playbackRestrictionPolicies",
    operations=limited(
        5,
        create="CreatePlaybackRestrictionPolicy",
        get="GetPlaybackRestrictionPolicy",
        update="UpdatePlaybackRestrictionPolicy",
        delete="DeletePlaybackRestrictionPolicy",
        list="ListPlaybackRestrictionPolicies",
    ),
    quota=3,
    quota_text="3 playback restriction policies per account and region",
    page_size=1,
    defaults={
        "name": "",
        "allowedCountries": [],
        "allowedOrigins": [],
        "enableStrictOriginEnforcement": False,
        "tags": {},
    },
    rules=(validate_countries, validate_origins, validate_quotas_of_update),
    on_create=check_quotas,
)
