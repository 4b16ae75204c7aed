"""A playback restriction policy applies to a public channel: IVS user guide, "Undesired Content and Viewers"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.local_ivs.edge.conftest import EdgeFixture
from tests.local_ivs.environment import START, start_stream
from tests.support.mmdb import write_database
from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge.countries import CountryDatabase, CountryHeader

ORIGIN = "https://shop.example.com"


def restrict(edge: EdgeFixture, channel: Arn, **policy: Any) -> str:
    """Attach a policy to a channel, and start its stream anew."""
    arn = str(edge.call("CreatePlaybackRestrictionPolicy", **policy)["playbackRestrictionPolicy"]["arn"])
    edge.call("StopStream", channelArn=str(channel))
    edge.call("UpdateChannel", arn=str(channel), playbackRestrictionPolicyArn=arn)
    start_stream(edge.resources, channel)
    return arn


@pytest.mark.parametrize(
    ("allowed", "strict", "origin", "status", "readable_by"),
    [
        ([], False, "", 200, "*"),
        ([], False, ORIGIN, 200, "*"),
        ([], True, "", 403, "*"),
        ([], True, ORIGIN, 200, "*"),
        ([ORIGIN], False, ORIGIN, 200, ORIGIN),
        ([ORIGIN], False, "https://a.com", 200, None),
        ([ORIGIN], False, "", 200, None),
        ([ORIGIN], True, ORIGIN, 200, ORIGIN),
        (["https://*.example.com"], True, ORIGIN, 200, ORIGIN),
        ([ORIGIN], True, "https://a.com", 403, "*"),
        ([ORIGIN], True, "", 403, "*"),
        ([], True, "https://evil.com/path", 403, "*"),
        (["https://*.example.com"], True, "https://evil.com/.example.com", 403, "*"),
        (["https://*.example.com"], False, "https://evil.com/.example.com", 200, None),
    ],
)
def test_allowed_origins_restrict_browsers_and_with_strict_enforcement_every_client(
    edge: EdgeFixture, allowed: list[str], strict: bool, origin: str, status: int, readable_by: str | None
) -> None:
    restrict(edge, edge.public_channel, allowedOrigins=allowed, enableStrictOriginEnforcement=strict)
    response = edge.get_playlist(channel=edge.public_channel, origin=origin)
    assert response.status == status
    assert dict(response.headers).get("access-control-allow-origin") == readable_by
    if status == 403:
        assert json.loads(response.body)[0]["error"] == ("origin is not allowed" if origin else "origin required")


def test_a_changed_policy_applies_from_the_next_stream_on(edge: EdgeFixture) -> None:
    """AWS CLI, update-playback-restriction-policy: a change does not affect an ongoing stream."""
    arn = restrict(edge, edge.public_channel, allowedOrigins=[ORIGIN], enableStrictOriginEnforcement=True)
    edge.call("UpdatePlaybackRestrictionPolicy", arn=arn, enableStrictOriginEnforcement=False)
    assert edge.get_playlist(channel=edge.public_channel).status == 403
    edge.call("StopStream", channelArn=str(edge.public_channel))
    assert edge.get_playlist(channel=edge.public_channel).status == 404
    start_stream(edge.resources, edge.public_channel)
    assert edge.get_playlist(channel=edge.public_channel).status == 200


def test_a_private_channel_ignores_its_policy(edge: EdgeFixture) -> None:
    """User guide: with playback authorization on, an attached policy is ignored."""
    restrict(edge, edge.private_channel, allowedOrigins=[ORIGIN], enableStrictOriginEnforcement=True)
    assert edge.get_playlist(f"token={edge.token()}").status == 200


@pytest.mark.parametrize(
    ("allowed", "country", "status"),
    [(["JP"], "JP", 200), (["DE", "JP"], "JP", 200), (["DE"], "JP", 403), (["DE"], "", 200), ([], "JP", 200)],
)
def test_allowed_countries_restrict_viewers_whose_country_is_known(
    edge: EdgeFixture, allowed: list[str], country: str, status: int
) -> None:
    restrict(edge, edge.public_channel, allowedCountries=allowed)
    response = edge.with_countries(CountryHeader("x-country")).get_playlist(
        channel=edge.public_channel, headers=[(b"x-country", country.encode())]
    )
    assert response.status == status
    if status == 403:
        (entry,) = json.loads(response.body)
        assert (entry["error"], entry["error_code"]) == (
            "content is not available in this country",
            "content_geoblocked",
        )
        assert dict(response.headers)["tokensvc-rule"] == "country"
        assert dict(response.headers)["access-control-allow-origin"] == "*"
        assert edge.sessions(START) == []


def test_by_default_no_viewers_country_is_known(edge: EdgeFixture) -> None:
    restrict(edge, edge.public_channel, allowedCountries=["JP"])
    headers = [(b"x-country", b"DE")]
    assert edge.get_playlist(channel=edge.public_channel, address="192.0.2.1", headers=headers).status == 200


def test_the_players_address_determines_its_country(edge: EdgeFixture, tmp_path: Path) -> None:
    networks = {"192.0.2.0/24": {"country": {"iso_code": "DE"}}}
    database = CountryDatabase(write_database(tmp_path / "countries.mmdb", networks))
    edge = edge.with_countries(database)
    restrict(edge, edge.public_channel, allowedCountries=["JP"])
    statuses = [
        edge.get_playlist(channel=edge.public_channel, address=address).status
        for address in ("192.0.2.1", "127.0.0.1", "")
    ]
    assert statuses == [403, 200, 200]
    database.close()


def test_a_private_channel_restricts_no_country(edge: EdgeFixture) -> None:
    restrict(edge, edge.private_channel, allowedCountries=["JP"])
    edge = edge.with_countries(CountryHeader("x-country"))
    assert edge.get_playlist(f"token={edge.token()}", headers=[(b"x-country", b"DE")]).status == 200
