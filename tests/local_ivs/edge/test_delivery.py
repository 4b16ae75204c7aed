"""A session gets the variant playlists and segments of its stream, and nothing else does."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.local_ivs.edge import player
from tests.local_ivs.edge.conftest import BASE_URL, EdgeFixture
from tests.local_ivs.edge.player import Player
from tests.local_ivs.environment import START, all_stored, start_stream
from tests.local_ivs.ladder import label_of
from tokensvc.local_ivs.edge.delivery import Delivery, parse_request
from tokensvc.local_ivs.edge.responses import PlaybackResponse
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.media.ready_made import ReadyMadeLibrary
from tokensvc.local_ivs.media.transport_stream import mark_discontinuity
from tokensvc.local_ivs.session_store import IDLE_SECONDS
from tokensvc.local_ivs.streams.timed_metadata import RETENTION_SECONDS

ORIGIN = "https://shop.example.com"


def error_text(response: PlaybackResponse, status: int) -> str:
    assert response.status == status
    headers = dict(response.headers)
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cache-control"] == "no-store"
    (entry,) = json.loads(response.body)
    return str(entry["error"])


def playlist_error(session: Player, at: float, status: int = 403, rendition: str = "480p30") -> str:
    return error_text(session.load(session.variants[rendition], at), status)


def segment_url(session: Player, at: float, rendition: str = "480p30") -> str:
    """The URL of the newest segment."""
    return str(session.playlist(at, rendition).segments[-1].uri)


def test_a_live_media_playlist_has_the_numbers_and_dates_of_its_segments(edge: EdgeFixture) -> None:
    found = player.start(edge).playlist(START + 41)
    assert (found.target_duration, found.media_sequence, found.version) == (2, 20, 3)
    assert (found.is_endlist, found.playlist_type) == (False, None)
    assert [segment.duration for segment in found.segments] == [2.0] * 6
    last = datetime.fromtimestamp(START + 38, UTC)
    assert [s.program_date_time for s in found.segments] == [last - timedelta(seconds=10 - 2 * n) for n in range(6)]
    # The loop of a minute began anew with the segment at START, which is a whole minute.
    assert [segment.discontinuity for segment in found.segments] == [False] * 6
    assert found.discontinuity_sequence == 1


def test_segments_are_those_of_the_loop_at_their_time(edge: EdgeFixture) -> None:
    session = player.start(edge)
    assert session.segments(START) == [f"480p30 {position}" for position in range(24, 30)]
    session.load(session.variants["480p30"], START + 40)
    assert session.segments(START + 64) == [f"480p30 {position % 30}" for position in range(26, 32)]
    assert label_of(session.load(segment_url(session, START + 64, "720p30"), START + 64).body) == "720p30 1"


def test_responses_have_their_types_and_are_never_cached(edge: EdgeFixture) -> None:
    session = player.start(edge)
    for url, content_type in (
        (session.variants["480p30"], "application/vnd.apple.mpegurl"),
        (segment_url(session, START), "video/mp2t"),
    ):
        headers = session.load(url, START).headers
        assert set(headers) == {
            ("content-type", content_type),
            ("cache-control", "no-store"),
            ("access-control-allow-origin", "*"),
        }


@pytest.mark.slow
def test_an_hour_of_the_sliding_window_has_no_gap(edge: EdgeFixture) -> None:
    session = player.start(edge)
    seen: dict[int, tuple[Any, ...]] = {}
    for second in range(0, 3600, 3):
        found = session.playlist(START + second)
        discontinuities = found.discontinuity_sequence
        for number, segment in enumerate(found.segments, found.media_sequence):
            discontinuities += segment.discontinuity
            facts = (segment.uri, segment.program_date_time, discontinuities)
            assert seen.setdefault(number, facts) == facts
    assert list(seen) == list(range(len(seen)))
    assert len(seen) == 6 + 3597 // 2
    for (_, before, old), (_, after, new) in pairwise(seen.values()):
        assert after - before == timedelta(seconds=2)
        assert new - old == (after.second == 0)


def test_a_running_session_needs_no_token_and_no_key(edge: EdgeFixture) -> None:
    session = player.start(edge)
    (pair,) = edge.call("ListPlaybackKeyPairs")["keyPairs"]
    edge.call("DeletePlaybackKeyPair", arn=pair["arn"])
    for second in range(0, 900, 30):  # long after the token has expired
        assert session.status(START + second) == 200
        assert session.load(segment_url(session, START + second), START + second).status == 200
    assert edge.get_playlist(f"token={edge.token()}").status == 403


def test_no_url_of_a_session_contains_a_token(edge: EdgeFixture) -> None:
    token = edge.token()
    session = player.start(edge, f"token={token}")
    urls = [*session.variants.values(), *(segment.uri for segment in session.playlist(START).segments)]
    assert not any("token" in url or token[:20] in url or "?" in url for url in urls)


@pytest.mark.parametrize(("version", "revoked", "status"), [(0, 0, 403), (5, 5, 403), (6, 5, 200), (-1, 0, 403)])
def test_a_revocation_ends_running_sessions_up_to_its_version(
    edge: EdgeFixture, version: int, revoked: int, status: int
) -> None:
    session = player.start(edge, f"token={edge.token(viewer_id='viewer', viewer_session_version=version)}")
    other = player.start(edge, f"token={edge.token(viewer_id='other', viewer_session_version=version)}")
    anonymous = player.start(edge)
    url = segment_url(session, START)
    edge.call(
        "StartViewerSessionRevocation",
        channelArn=str(edge.private_channel),
        viewerId="viewer",
        viewerSessionVersionsLessThanOrEqualTo=revoked,
    )
    assert [session.status(START), session.load(url, START).status] == [status, status]
    assert [other.status(START), anonymous.status(START)] == [200, 200]
    if status == 403:
        assert playlist_error(session, START) == "viewer session is revoked"


def test_a_revocation_takes_effect_after_the_propagation_delay(edge: EdgeFixture) -> None:
    delivery = Delivery(edge.resources, Sessions(edge.resources, random_string), edge.ladder, propagation_seconds=10)
    session = player.start(edge, f"token={edge.token(viewer_id='viewer')}")._replace(delivery=delivery)
    edge.call("StartViewerSessionRevocation", channelArn=str(edge.private_channel), viewerId="viewer")
    assert [session.status(START + 9), session.status(START + 10)] == [200, 403]


def test_strict_origin_enforcement_applies_to_every_request(edge: EdgeFixture) -> None:
    token = edge.token(strict_origin_enforcement=True, access_control_allow_origin=ORIGIN)
    session = player.start(edge, f"token={token}", origin=ORIGIN)
    urls = [session.variants["480p30"], segment_url(session, START)]
    for url in urls:
        allowed = dict(session.load(url, START).headers)
        assert (allowed["access-control-allow-origin"], allowed["vary"]) == (ORIGIN, "origin")
        assert error_text(session._replace(origin="").load(url, START), 403) == "origin required"
        elsewhere = session._replace(origin="https://elsewhere.example")
        assert error_text(elsewhere.load(url, START), 403) == "origin is not allowed"


def test_without_strict_enforcement_origins_restrict_only_the_start(edge: EdgeFixture) -> None:
    session = player.start(edge, f"token={edge.token(access_control_allow_origin=ORIGIN)}", origin=ORIGIN)
    for origin in (ORIGIN, "https://elsewhere.example", ""):
        other = session._replace(origin=origin)
        for url in (session.variants["480p30"], segment_url(session, START)):
            response = other.load(url, START)
            assert (response.status, dict(response.headers)["access-control-allow-origin"]) == (200, "*")


def test_a_restriction_policy_with_strict_enforcement_applies_to_every_request(edge: EdgeFixture) -> None:
    policy = edge.call("CreatePlaybackRestrictionPolicy", allowedOrigins=[ORIGIN], enableStrictOriginEnforcement=True)
    arn = policy["playbackRestrictionPolicy"]["arn"]
    edge.call("StopStream", channelArn=str(edge.public_channel))
    edge.call("UpdateChannel", arn=str(edge.public_channel), playbackRestrictionPolicyArn=arn)
    start_stream(edge.resources, edge.public_channel)
    session = player.start(edge, "", edge.public_channel, origin=ORIGIN)
    assert session.status(START) == 200
    assert playlist_error(session._replace(origin=""), START) == "origin required"


@pytest.mark.parametrize(("cap", "allowed"), [("SD", ["480p30"]), ("HD", ["720p30", "480p30"])])
def test_renditions_above_the_cap_are_refused(edge: EdgeFixture, cap: str, allowed: list[str]) -> None:
    session = player.start(edge, f"token={edge.token(maximum_resolution=cap)}")
    assert list(session.variants) == allowed
    url = session.variants["480p30"]
    for rendition in ("1080p30", "720p30", "480p30"):
        responses = (
            session.load(url.replace("480p30", rendition), START),
            session.load(segment_url(session, START).replace("480p30", rendition), START),
        )
        for response in responses:
            assert response.status == (200 if rendition in allowed else 403)
            assert response.status == 200 or error_text(response, 403) == "rendition is above the maximum resolution"


@pytest.mark.parametrize("rendition", ["144p30", "480p60", "audio"])
def test_unknown_renditions_are_not_found(edge: EdgeFixture, rendition: str) -> None:
    session = player.start(edge)
    url = session.variants["480p30"].replace("480p30", rendition)
    error_text(session.load(url, START), 404)


def test_only_segments_in_the_window_or_just_past_it_can_be_loaded(edge: EdgeFixture) -> None:
    session, now = player.start(edge), START + 59
    found = session.playlist(now)
    first, last = found.segments[0].uri, found.segments[-1].uri
    newest = int(last.rsplit(".", 2)[1])
    for number in range(newest - 40, newest + 40):
        url = last.replace(f".{newest}.", f".{number}.")
        status = 200 if newest - 12 <= number <= newest else 404
        response = session.load(url, now)
        assert response.status == status
    assert session.load(first, now + 2 * 7).status == 200
    assert error_text(session.load(first, now + 2 * 8), 404) == "no such rendition or segment"


def test_a_session_of_a_stream_that_ended_is_not_found(edge: EdgeFixture) -> None:
    session = player.start(edge)
    url = segment_url(session, START)
    edge.call("StopStream", channelArn=str(edge.private_channel))
    assert playlist_error(session, START, 404) == "channel is not live"
    assert error_text(session.load(url, START), 404) == "channel is not live"
    start_stream(edge.resources, edge.private_channel)
    assert playlist_error(session, START, 404) == "channel is not live"
    assert player.start(edge).status(START) == 200


def test_a_revoked_viewer_does_not_learn_whether_the_channel_is_live(edge: EdgeFixture) -> None:
    session = player.start(edge, f"token={edge.token(viewer_id='viewer')}")
    edge.call("StartViewerSessionRevocation", channelArn=str(edge.private_channel), viewerId="viewer")
    edge.call("StopStream", channelArn=str(edge.private_channel))
    assert playlist_error(session, START) == "viewer session is revoked"


def test_an_idle_session_is_refused(edge: EdgeFixture) -> None:
    session = player.start(edge)
    assert session.status(START + IDLE_SECONDS - 1) == 200
    assert session.status(START + 2 * IDLE_SECONDS - 2) == 200
    assert playlist_error(session, START + 4 * IDLE_SECONDS) == "Forbidden"


def test_a_session_that_was_ended_is_refused(edge: EdgeFixture) -> None:
    session, other = player.start(edge, at=START - 1), player.start(edge)
    (_, first) = edge.sessions(START)
    assert Sessions(edge.resources, random_string).end(first.session_id, START)
    assert playlist_error(session, START) == "Forbidden"
    assert other.status(START) == 200


def test_refused_requests_do_not_keep_a_session_alive(edge: EdgeFixture) -> None:
    session = player.start(edge)
    unknown = session.variants["480p30"].replace("480p30", "144p30")
    for second in range(0, IDLE_SECONDS, 10):
        assert session.load(unknown, START + second).status == 404
    assert playlist_error(session, START + IDLE_SECONDS) == "Forbidden"


def test_a_guessed_session_is_refused(edge: EdgeFixture) -> None:
    session = player.start(edge)
    url = session.variants["480p30"]
    session_id = url.rsplit("/", 1)[1].split(".")[0]
    for guess in ("A" * 32, session_id.swapcase(), session_id[::-1]):
        assert error_text(session.load(url.replace(session_id, guess), START), 403) == "Forbidden"


def test_sessions_of_two_channels_are_separate(edge: EdgeFixture) -> None:
    private, public = player.start(edge), player.start(edge, "", edge.public_channel)
    edge.call("StopStream", channelArn=str(edge.public_channel))
    assert (private.status(START), public.status(START)) == (200, 404)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/playlist/",
        "/v1/segment/",
        f"/v1/playlist/{'A' * 31}.480p30.m3u8",
        f"/v1/playlist/{'A' * 33}.480p30.m3u8",
        f"/v1/playlist/{'A' * 32}.480p30.1.m3u8",
        f"/v1/playlist/{'A' * 32}.480p30.ts",
        f"/v1/playlist/{'A' * 32}.480p30.1.ts",
        f"/v1/playlist/{'A' * 32}.480p30.m3u8/",
        f"/v1/playlist/{'A' * 32}.480p30.m3u8\n",
        f"/v1/playlist/{'A' * 32}.%2e%2e.m3u8",
        f"/v1/segment/{'A' * 32}.480p30.m3u8",
        f"/v1/segment/{'A' * 32}.480p30.ts",
        f"/v1/segment/{'A' * 32}.480p30.-1.ts",
        f"/v1/segment/{'A' * 32}.480p30.1.5.ts",
        f"/v1/segment/{'A' * 32}.480p30.{'9' * 13}.ts",
        f"/v1/segment/{'A' * 32}.480p30.٣.ts",
        f"/v2/segment/{'A' * 32}.480p30.1.ts",
    ],
)
def test_other_paths_are_of_no_session(path: str) -> None:
    assert parse_request(path, "", "", BASE_URL) is None


def test_no_repr_contains_a_session_id_or_a_viewer(edge: EdgeFixture) -> None:
    session = player.start(edge, f"token={edge.token(viewer_id='the-viewer')}")
    url = session.variants["480p30"]
    request = parse_request(urlsplit(url).path, "", "", BASE_URL)
    (stored,) = edge.sessions(START)
    assert stored.session_id in url
    for value in (repr(request), repr(stored), repr(stored.terms)):
        assert stored.session_id not in value
        assert "the-viewer" not in value


def test_media_that_no_longer_exist_are_not_found(edge: EdgeFixture) -> None:
    session = player.start(edge)
    other = Delivery(edge.resources, Sessions(edge.resources, random_string), ReadyMadeLibrary())
    assert playlist_error(session._replace(delivery=other), START, 404) == "no such rendition or segment"


def insert_ad_break(edge: EdgeFixture, seconds: int, at: float) -> str:
    """Insert an ad break for the private channel, which gets an ad configuration first if it has none."""
    edge.clock.at = at
    return str(edge.call("InsertAdBreak", channelArn=str(edge.private_channel), durationSeconds=seconds)["adBreakId"])


@pytest.fixture
def with_ads(edge: EdgeFixture) -> EdgeFixture:
    tailor = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/ads"
    configuration = edge.call(
        "CreateAdConfiguration", mediaTailorPlaybackConfigurations=[{"playbackConfigurationArn": tailor}]
    )
    arn = configuration["adConfiguration"]["arn"]
    edge.call("StopStream", channelArn=str(edge.private_channel))
    edge.call("UpdateChannel", arn=str(edge.private_channel), adConfigurationArn=arn)
    start_stream(edge.resources, edge.private_channel)
    return edge


def test_an_ad_break_shows_a_slate_between_discontinuities(with_ads: EdgeFixture) -> None:
    session = player.start(with_ads)
    ad_break_id = insert_ad_break(with_ads, 6, START + 3.5)
    # The ad break begins at second 3, so its slate with the segment of second 4, for three segments.
    bodies = session.segments(START + 14)
    assert bodies == ["480p30 1", *["480p30 slate"] * 3, "480p30 5", "480p30 6"]
    found = session.playlist(START + 14)
    assert [segment.discontinuity for segment in found.segments] == [False, True, True, True, True, False]
    assert [segment.title == "live" for segment in found.segments] == [True, False, False, False, True, True]
    (date_range,) = found.segments[1].dateranges
    assert date_range.class_ == "live-video-net-stitched-ad"
    assert date_range.id == f"stitched-ad-{int(START) + 4}-6000000000"
    assert (date_range.start_date, float(date_range.duration)) == ("2027-01-15T08:00:04.000Z", 6.0)
    assert date_range.x_client_attrs == [("x_net_live_video_ad_ad_break_id", f'"{ad_break_id}"')]


def test_segments_after_a_discontinuity_say_so_in_their_packets(with_ads: EdgeFixture) -> None:
    """As the playlist does: otherwise a player reports lost packets where continuity counters begin anew."""
    session = player.start(with_ads)
    insert_ad_break(with_ads, 6, START + 3.5)
    for segment in session.playlist(START + 14).segments:
        body = session.load(segment.uri, START + 14).body
        position = label_of(body).split()[1]
        ladder = with_ads.ladder
        plain = ladder.slate("480p30") if position == "slate" else ladder.segment("480p30", int(position))
        assert body == (mark_discontinuity(plain) if segment.discontinuity else plain)


def test_an_ad_break_passes_with_its_discontinuities_counted(with_ads: EdgeFixture) -> None:
    session = player.start(with_ads)
    insert_ad_break(with_ads, 6, START + 3.5)
    found = [session.playlist(START + second) for second in (14, 16, 18, 20, 22)]
    assert [playlist.discontinuity_sequence for playlist in found] == [1, 1, 2, 3, 4]
    dates = [[date_range.id for segment in p.segments for date_range in segment.dateranges] for p in found]
    assert [len(ids) for ids in dates] == [1, 1, 1, 1, 0]
    assert len({ids[0] for ids in dates if ids}) == 1


def test_every_ad_break_that_is_inserted_is_announced(with_ads: EdgeFixture) -> None:
    session, channel, inserted = player.start(with_ads), str(with_ads.private_channel), []
    for second in (5, 2, 1, 4, 3, 6, 8):
        target = datetime.fromtimestamp(START + second, UTC)
        with contextlib.suppress(IvsError):  # it overlaps another one
            ad_break = with_ads.call("InsertAdBreak", channelArn=channel, durationSeconds=1, targetStartAt=target)
            inserted.append(ad_break["adBreakId"])
    assert len(inserted) > 3
    announced = [
        dict(date_range.x_client_attrs)["x_net_live_video_ad_ad_break_id"].strip('"')
        for segment in session.playlist(START + 14).segments
        for date_range in segment.dateranges
    ]
    assert sorted(announced) == sorted(inserted)


def test_an_ad_break_in_the_future_begins_at_its_time(with_ads: EdgeFixture) -> None:
    session, target = player.start(with_ads), datetime.fromtimestamp(START + 30, UTC)
    with_ads.call("InsertAdBreak", channelArn=str(with_ads.private_channel), durationSeconds=2, targetStartAt=target)
    assert "480p30 slate" not in session.segments(START + 30)
    assert session.segments(START + 32)[-1] == "480p30 slate"
    assert session.segments(START + 34)[-1] == "480p30 16"


def test_a_viewer_who_opted_out_of_ads_sees_none(with_ads: EdgeFixture) -> None:
    session = player.start(with_ads, f"token={with_ads.token(ads_opt_out=True)}")
    insert_ad_break(with_ads, 6, START + 3.5)
    assert session.segments(START + 14) == [f"480p30 {position}" for position in range(1, 7)]
    found = session.playlist(START + 14)
    assert not any(segment.discontinuity or segment.dateranges for segment in found.segments)


@pytest.mark.parametrize("how", ["it is watched", "playback starts"])
def test_metadata_does_not_stay_in_the_store_while_there_are_players(edge: EdgeFixture, how: str) -> None:
    edge.call("PutMetadata", channelArn=str(edge.public_channel), metadata="secret")
    watching = player.start(edge, channel=edge.public_channel)
    for seconds in range(0, RETENTION_SECONDS, 10):
        assert watching.status(START + seconds) == 200
    assert "secret" in str(all_stored(edge.resources))
    later = START + RETENTION_SECONDS
    if how == "it is watched":
        assert watching.status(later) == 200
    else:
        player.start(edge, channel=edge.public_channel, at=later)
    assert "secret" not in str(all_stored(edge.resources))
