"""Playback restriction policies follow the rules of their operations in the API reference, and of "Service Quotas"."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import OTHER_REGION
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.resources.restriction_policies import COUNTRIES

POLICY = {
    "name": "eu",
    "allowedCountries": ["DE", "FR"],
    "allowedOrigins": ["https://a.example", "https://*.b.example"],
    "enableStrictOriginEnforcement": True,
    "tags": {"a": "b"},
}


def create(call: CallIvs, **request: Any) -> dict[str, Any]:
    policy: dict[str, Any] = call("CreatePlaybackRestrictionPolicy", **request)["playbackRestrictionPolicy"]
    return policy


def test_the_defaults_restrict_nothing(call: CallIvs) -> None:
    """API reference: "Default: All countries (an empty array)", likewise origins; strict enforcement false."""
    policy = create(call)
    assert policy.pop("arn").startswith("arn:aws:ivs:us-west-2:000000000000:playback-restriction-policy/")
    assert policy == {
        "name": "",
        "allowedCountries": [],
        "allowedOrigins": [],
        "enableStrictOriginEnforcement": False,
        "tags": {},
    }


def test_a_policy_is_created_updated_and_deleted(call: CallIvs) -> None:
    created = create(call, **POLICY)
    assert created == {"arn": created["arn"], **POLICY}
    assert call("GetPlaybackRestrictionPolicy", arn=created["arn"])["playbackRestrictionPolicy"] == created
    changed = call("UpdatePlaybackRestrictionPolicy", arn=created["arn"], allowedCountries=[])[
        "playbackRestrictionPolicy"
    ]
    assert changed == {**created, "allowedCountries": []}
    assert call("DeletePlaybackRestrictionPolicy", arn=created["arn"]) == {}
    with pytest.raises(IvsError, match="ResourceNotFoundException"):
        call("GetPlaybackRestrictionPolicy", arn=created["arn"])


@pytest.mark.parametrize("country", ["UK", "de", "ZZ", "EU", "XK", "1A", ""])
def test_only_officially_assigned_country_codes_are_accepted(call: CallIvs, country: str) -> None:
    """API reference: "the officially assigned ISO 3166-1 alpha-2 codes"."""
    with pytest.raises(IvsError, match=r"ValidationException.*allowedCountries\.2\.member"):
        create(call, allowedCountries=["DE", country])


def test_every_assigned_country_code_is_accepted(call: CallIvs) -> None:
    assert len(COUNTRIES) == 249
    for some in (sorted(COUNTRIES)[:200], sorted(COUNTRIES)[49:]):
        assert create(call, allowedCountries=some)["allowedCountries"] == some


@pytest.mark.parametrize(
    "origin", ["a.example", "https://a.example/", "HTTPS://a.example", "https://a.example:443", ""]
)
def test_only_origins_that_browsers_send_are_accepted(call: CallIvs, origin: str) -> None:
    """API reference: "the same as valid values of the Origin header"."""
    with pytest.raises(IvsError, match=r"ValidationException.*allowedOrigins\.1\.member"):
        create(call, allowedOrigins=[origin])
    with pytest.raises(IvsError, match=r"ValidationException.*allowedOrigins\.1\.member"):
        create(call, allowedOrigins=[f"https://{'a' * 120}.example"])


@pytest.mark.parametrize(
    "over_quota",
    [
        {"allowedCountries": sorted(COUNTRIES)[:201]},
        {"allowedOrigins": [f"https://{n}.example" for n in range(6)]},
    ],
    ids=["countries", "origins"],
)
def test_countries_and_origins_have_quotas(call: CallIvs, over_quota: dict[str, Any]) -> None:
    """Service Quotas: 200 countries, 5 origins. INFERRED: 402 on a create, 400 on an update, which lists no 402."""
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        create(call, **over_quota)
    created = create(call)
    with pytest.raises(IvsError, match="ValidationException"):
        call("UpdatePlaybackRestrictionPolicy", arn=created["arn"], **over_quota)
    assert call("GetPlaybackRestrictionPolicy", arn=created["arn"])["playbackRestrictionPolicy"] == created


def test_the_quota_is_three_policies_per_region(call: CallIvs) -> None:
    """Service Quotas: 3 in each region."""
    for _ in range(3):
        create(call)
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        create(call)
    call("CreatePlaybackRestrictionPolicy", OTHER_REGION)


def test_the_default_page_size_is_one(call: CallIvs) -> None:
    """API reference, ListPlaybackRestrictionPolicies: "Default: 1"."""
    created = [create(call) for _ in range(2)]
    first = call("ListPlaybackRestrictionPolicies")
    assert first["playbackRestrictionPolicies"] == [created[0]]
    second = call("ListPlaybackRestrictionPolicies", nextToken=first["nextToken"])
    assert second == {"playbackRestrictionPolicies": [created[1]]}
    assert len(call("ListPlaybackRestrictionPolicies", maxResults=100)["playbackRestrictionPolicies"]) == 2
