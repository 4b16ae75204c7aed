"""The playback handler accepts and rejects requests as IVS does."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID as UUID4

import jwt
import pytest

from tests.local_ivs.edge.conftest import BASE_URL, EdgeFixture
from tests.local_ivs.environment import (
    HERE,
    START,
    FrozenClock,
    counting_strings,
    pem,
    private_key,
    start_stream,
)
from tests.local_ivs.ladder import SIZES, Ladder
from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.edge.errors import ERRORS, ERRORS_BY_REASON
from tokensvc.local_ivs.edge.grants import Grant
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest
from tokensvc.local_ivs.edge.responses import PlaybackResponse
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.session_store import SessionTerms
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams import events
from tokensvc.tokens.validation import RULE_HEADER, RULES

UUID = "123e4567-e89b-42d3-a456-426614174000"
ORIGIN = "https://shop.example.com"


def error_text(response: PlaybackResponse, code: str = "invalid_playback_auth_token", status: int = 403) -> str:
    """The text of an error."""
    assert response.status == status
    (entry,) = json.loads(response.body)
    assert entry["error_code"] == code
    assert entry["type"] == "error"
    return str(entry["error"])


def denied_by(response: PlaybackResponse) -> str | None:
    """The rule in the header."""
    return dict(response.headers).get(RULE_HEADER)


def assert_already_used(response: PlaybackResponse) -> None:
    assert error_text(response, "playback_auth_error") == "token has already been used"
    assert denied_by(response) == "single-use"


def allowed_origin(response: PlaybackResponse) -> str | None:
    return dict(response.headers).get("access-control-allow-origin")


def test_a_valid_token_gets_the_playlist(edge: EdgeFixture) -> None:
    response = edge.get_playlist(f"token={edge.token()}")
    assert response.status == 200
    assert dict(response.headers)["content-type"] == "application/vnd.apple.mpegurl"
    assert dict(response.headers)["cache-control"] == "no-store"
    assert response.body.startswith(b"#EXTM3U\n")


def test_every_viewer_gets_a_separate_session(edge: EdgeFixture) -> None:
    one, two = (edge.get_playlist(f"token={edge.token()}").body for _ in range(2))
    assert one != two


@pytest.mark.parametrize("query", ["", "token=", "token", "player_version=1.13.0"])
def test_a_missing_token_gets_the_observed_error(edge: EdgeFixture, query: str) -> None:
    assert error_text(edge.get_playlist(query)) == "token contains an invalid number of segments"


def test_the_error_contains_path_and_query_without_the_token(edge: EdgeFixture) -> None:
    token = edge.token(2)
    response = edge.get_playlist(f"a=1&token={token}&player_version=1.13.0&%74oken={token}&b=%3C")
    assert token.encode() not in response.body
    assert (
        f'"url":"{edge.private_channel.playback_path}?a=1\\u0026player_version=1.13.0\\u0026b=%3C"'.encode()
        in response.body
    )
    assert f'"url":"{edge.private_channel.playback_path}"'.encode() in edge.get_playlist(f"token={token}").body


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"exp": int(START)}, "token is expired"),
        ({"exp": None}, "token has no exp"),
        ({"exp": str(int(START) + 300)}, "exp is not a whole number of seconds"),
        ({"exp": START + 300.5}, "exp is not a whole number of seconds"),
        ({"exp": int(START) * 1000}, "exp is in milliseconds, not in seconds"),
        ({"viewer_id": "v", "exp": int(START) * 1000}, "exp is in milliseconds, not in seconds"),
        ({"single_use_uuid": "abc"}, "token has an invalid single-use UUID"),
        ({"channel_arn": None}, "token has no channel ARN"),
        ({"channel_arn": ["arn"]}, "token has an invalid channel ARN"),
        ({"channel_arn": "arn:aws:ivs:us-west-2:000000000000:channel/other"}, "token is not for this channel"),
        ({"viewer_id": "v", "exp": int(START) + 601}, "token expires too late"),
        ({"viewer_id": "v" * 41}, "token has an invalid viewer"),
        ({"access_control_allow_origin": "https://a.com/path"}, "token has invalid origins"),
        ({"strict_origin_enforcement": True}, "origin required"),
        ({"maximum_resolution": "4K"}, "token has an invalid resolution"),
        ({"ads_reporting_mode": "NEVER"}, "token has invalid ads parameters"),
    ],
    ids=str,
)
def test_each_failed_rule_has_its_own_text(edge: EdgeFixture, claims: dict[str, Any], text: str) -> None:
    assert error_text(edge.get_playlist(f"token={edge.token(**claims)}")) == text


def test_every_rule_has_a_text() -> None:
    assert list(ERRORS) == [name for name, _ in RULES]
    for rule, reason in ERRORS_BY_REASON:
        assert ERRORS_BY_REASON[rule, reason].text != ERRORS[rule].text


def test_a_key_that_was_not_imported_is_rejected(edge: EdgeFixture) -> None:
    assert error_text(edge.get_playlist(f"token={edge.token(2)}")) == "signature is invalid"


def test_each_imported_key_is_accepted(edge: EdgeFixture) -> None:
    edge.call("ImportPlaybackKeyPair", publicKeyMaterial=pem(2))
    for key in (1, 2):
        assert edge.get_playlist(f"token={edge.token(key)}").status == 200


def test_a_deleted_key_is_rejected(edge: EdgeFixture) -> None:
    (pair,) = edge.call("ListPlaybackKeyPairs")["keyPairs"]
    token = edge.token()
    edge.call("DeletePlaybackKeyPair", arn=pair["arn"])
    assert error_text(edge.get_playlist(f"token={token}")) == "signature is invalid"


def test_other_algorithms_are_rejected(edge: EdgeFixture) -> None:
    payload = {"aws:channel-arn": str(edge.private_channel), "exp": int(START) + 300}
    forged = jwt.encode(payload, "a shared secret that is long enough to be one", algorithm="HS256")
    assert error_text(edge.get_playlist(f"token={forged}")) == "signing method is invalid"
    unsigned = jwt.encode(payload, "", algorithm="none")
    assert error_text(edge.get_playlist(f"token={unsigned}")) == "'none' signature type is not allowed"


def test_several_tokens_are_rejected(edge: EdgeFixture) -> None:
    token = edge.token()
    response = edge.get_playlist(f"token={token}&token={token}")
    assert error_text(response) == "several tokens were sent"
    assert denied_by(response) == "several-tokens"


def test_a_public_channel_needs_no_token_and_ignores_one(edge: EdgeFixture) -> None:
    for query in ("", "token=x", f"token={edge.token()}"):
        response = edge.get_playlist(query, edge.public_channel)
        assert response.status == 200
        assert allowed_origin(response) == "*"


def test_a_channel_made_public_needs_no_token_any_more(edge: EdgeFixture) -> None:
    assert edge.get_playlist().status == 403
    edge.call("StopStream", channelArn=str(edge.private_channel))
    edge.call("UpdateChannel", arn=str(edge.private_channel), authorized=False)
    start_stream(edge.resources, edge.private_channel)
    assert edge.get_playlist().status == 200


def test_an_unknown_channel_is_not_found(edge: EdgeFixture) -> None:
    response = edge.get_playlist(f"token={edge.token()}", edge.private_channel._replace(id="unknown"))
    assert response.status == 404
    (entry,) = json.loads(response.body)
    assert set(entry) == {"url", "error", "error_code", "type"}
    assert error_text(response, "transcode_does_not_exist", 404) == "Can not find channel"
    assert allowed_origin(response) == "*"


def test_an_offline_channel_is_not_found_only_for_authorized_viewers(edge: EdgeFixture) -> None:
    """Nobody else learns whether it is live, and the 404 does not spend a single use."""
    for channel in (edge.private_channel, edge.public_channel):
        edge.call("StopStream", channelArn=str(channel))
    single_use = f"token={edge.token(single_use_uuid=UUID)}"
    assert edge.get_playlist().status == 403
    assert edge.get_playlist(f"token={edge.token(2)}").status == 403
    for response in (edge.get_playlist(single_use), edge.get_playlist("", edge.public_channel)):
        assert response.status == 404
        assert allowed_origin(response) == "*"
        assert error_text(response, "transcode_does_not_exist", 404) == "channel is not live"
    start_stream(edge.resources, edge.private_channel)
    assert edge.get_playlist(single_use).status == 200
    edge.call("StopStream", channelArn=str(edge.private_channel))
    assert_already_used(edge.get_playlist(single_use))


def test_each_start_is_a_session_with_what_was_granted(edge: EdgeFixture) -> None:
    claims = {"viewer_id": "v", "viewer_session_version": 7, "maximum_resolution": "HD", "ads_opt_out": True}
    origins = {"access_control_allow_origin": f"https://a.com,{ORIGIN}", "strict_origin_enforcement": True}
    edge.get_playlist(f"token={edge.token(**claims, **origins)}", origin=ORIGIN)
    edge.get_playlist(f"token={edge.token()}", at=START + 1)
    edge.get_playlist("", edge.public_channel, at=START + 2)
    public, plain, full = (session.terms for session in edge.sessions(START + 2))
    assert full == SessionTerms(
        edge.private_channel, full.stream_id, "v", 7, "HD", ("https://a.com", ORIGIN), True, True, "ladder"
    )
    assert plain == SessionTerms(edge.private_channel, full.stream_id, None, 0, None, None, False, False, "ladder")
    assert public == SessionTerms(edge.public_channel, public.stream_id, None, 0, None, None, False, False, "ladder")
    assert edge.call("GetStream", channelArn=str(edge.private_channel))["stream"]["viewerCount"] == 2


def test_what_is_not_answered_with_a_playlist_starts_no_session(edge: EdgeFixture) -> None:
    token = edge.token()
    assert edge.get_playlist(f"token={token}", is_get=False).status == 200
    edge.get_playlist(f"token={edge.token(2)}")
    edge.call("StopStream", channelArn=str(edge.private_channel))
    edge.get_playlist(f"token={token}")
    assert edge.sessions(START) == []


def test_too_many_concurrent_views_are_denied_without_spending_the_single_use(edge: EdgeFixture) -> None:
    edge = edge.with_quota(2)
    first, second, third = (f"token={edge.token(single_use_uuid=str(UUID4(int=n)))}" for n in range(3))
    assert [edge.get_playlist(query).status for query in (first, second)] == [200, 200]
    response = edge.get_playlist(third)
    assert error_text(response, "too_many_concurrent_viewers", 429) == "too many concurrent viewers"
    assert denied_by(response) == "concurrent-views"
    assert allowed_origin(response) == "*"
    with edge.resources.begin(write=False) as transaction:
        breach = events.events_after(transaction, 0, 99)[-1].event
    assert (breach["detail-type"], breach["detail"]["limit_name"]) == ("IVS Limit Breach", "Concurrent Viewers")
    assert [edge.get_playlist(query, at=START + 61).status for query in (third, first)] == [200, 403]


def test_the_first_get_spends_the_single_use(edge: EdgeFixture) -> None:
    token = edge.token(single_use_uuid=UUID)
    assert edge.get_playlist(f"token={token}", is_get=False).status == 200
    assert edge.get_playlist(f"token={token}").status == 200
    for is_get in (True, False):
        assert_already_used(edge.get_playlist(f"token={token}", is_get=is_get))


def test_tokens_with_the_same_uuid_share_a_single_use(edge: EdgeFixture) -> None:
    assert edge.get_playlist(f"token={edge.token(single_use_uuid=UUID)}").status == 200
    other = edge.token(single_use_uuid=UUID.upper(), exp=int(START) + 200)
    assert_already_used(edge.get_playlist(f"token={other}"))


def test_a_rejected_token_does_not_spend_its_single_use(edge: EdgeFixture) -> None:
    strict = {"single_use_uuid": UUID, "strict_origin_enforcement": True, "access_control_allow_origin": ORIGIN}
    token = edge.token(**strict)
    assert edge.get_playlist(f"token={token}", origin="https://evil.example").status == 403
    assert edge.get_playlist(f"token={token}", origin=ORIGIN).status == 200


def test_only_one_of_many_concurrent_players_can_spend_a_single_use(edge: EdgeFixture) -> None:
    token = edge.token(single_use_uuid=UUID)
    with ThreadPoolExecutor(8) as threads:
        statuses = [
            response.status for response in threads.map(lambda _: edge.get_playlist(f"token={token}"), range(24))
        ]
    assert statuses.count(200) == 1
    assert statuses.count(403) == 23


def test_processes_that_share_a_database_spend_a_single_use_once(tmp_path: Path) -> None:
    """Each has its own connections and its own memory of what it has verified."""
    stores = [SqliteResourceStore(str(tmp_path / "ivs.db")) for _ in range(3)]
    ivs = LocalIvs(api_model.load(), stores[0], FrozenClock(), counting_strings(), b"secret")
    ivs.call(HERE, "ImportPlaybackKeyPair", {"publicKeyMaterial": pem(1)}, "")
    channel = parse_arn(ivs.call(HERE, "CreateChannel", {"authorized": True}, "")["channel"]["arn"])
    start_stream(stores[0], channel)
    handlers = [PlaybackHandler(store, Sessions(store, random_string), Ladder(), random_string) for store in stores]
    claims = {"aws:channel-arn": str(channel), "aws:single-use-uuid": UUID, "exp": int(START) + 300}
    query = f"token={jwt.encode(claims, private_key(1), algorithm='ES384')}"
    request = PlaybackRequest(channel, channel.playback_path, query, "", "http://edge.test")
    with ThreadPoolExecutor(6) as threads:
        statuses = [reply.status for reply in threads.map(lambda n: handlers[n % 3].handle(request, START), range(18))]
    assert statuses.count(200) == 1
    assert statuses.count(403) == 17
    assert len(Sessions(stores[1], random_string).active(START)) == 1
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (None, "", "*"),
        (None, ORIGIN, "*"),
        (ORIGIN, ORIGIN, ORIGIN),
        (f"https://a.com,{ORIGIN}", ORIGIN, ORIGIN),
        ("https://*.example.com", ORIGIN, ORIGIN),
        ("*", ORIGIN, ORIGIN),
        ("https://a.com", ORIGIN, None),
        ("https://a.com", "", None),
        ("https://*.example.com", "https://evil.com/.example.com", None),
        ("*", "https://evil.com/.example.com", None),
    ],
)
def test_without_strict_enforcement_origins_restrict_only_browsers(
    edge: EdgeFixture, allowed: str | None, origin: str, expected: str | None
) -> None:
    claims = {} if allowed is None else {"access_control_allow_origin": allowed}
    response = edge.get_playlist(f"token={edge.token(**claims)}", origin=origin)
    assert response.status == 200
    assert allowed_origin(response) == expected


@pytest.mark.parametrize(("origin", "status"), [(ORIGIN, 200), ("https://a.com", 403), ("", 403)])
def test_strict_enforcement_rejects_other_origins(edge: EdgeFixture, origin: str, status: int) -> None:
    token = edge.token(access_control_allow_origin=ORIGIN, strict_origin_enforcement=True)
    response = edge.get_playlist(f"token={token}", origin=origin)
    assert response.status == status
    if status == 403:
        assert error_text(response) == ("origin is not allowed" if origin else "origin required")


@pytest.mark.parametrize(
    ("resolution", "heights"),
    [
        ("SD", [480, 360, 160]),
        ("HD", [720, 480, 360, 160]),
        ("FULL_HD", [1080, 720, 480, 360, 160]),
        (None, [1080, 720, 480, 360, 160]),
    ],
)
def test_a_maximum_resolution_removes_higher_renditions(
    edge: EdgeFixture, resolution: str | None, heights: list[int]
) -> None:
    edge.ladder.renditions = Ladder(tuple(SIZES)).renditions
    claims = {"maximum_resolution": resolution} if resolution else {}
    text = edge.get_playlist(f"token={edge.token(**claims)}").body.decode()
    found = [int(height) for height in re.findall(r"RESOLUTION=\d+x(\d+)", text)]
    assert found == heights


def test_a_token_that_allows_no_rendition_is_denied_and_not_spent(edge: EdgeFixture) -> None:
    token = edge.token(maximum_resolution="SD", single_use_uuid=UUID)
    ladder, edge.ladder.renditions = edge.ladder.renditions, Ladder([1080, 720]).renditions
    for is_get in (True, False):
        response = edge.get_playlist(f"token={token}", is_get=is_get)
        assert error_text(response) == "no rendition is within the token's maximum resolution"
        assert denied_by(response) == "resolution"
    edge.ladder.renditions = ladder
    assert edge.get_playlist(f"token={token}").status == 200


def test_malformed_queries_are_rejected(edge: EdgeFixture) -> None:
    for query in ("&&&=", "token=%ff%00", "=token", "token=a.b.c", "\xff=\x80&token=\xff", "%", "a" * 9000):
        assert edge.get_playlist(query).status == 403


def test_no_repr_contains_a_token_a_viewer_or_an_address(edge: EdgeFixture) -> None:
    headers = [(b"cookie", b"a-cookie")]
    request = PlaybackRequest(
        edge.private_channel, "/path", "token=a-token", "", BASE_URL, address="192.0.2.1", headers=headers
    )
    grant = Grant(viewer_id="a-viewer", single_use_uuid="a-uuid")
    for value in ("a-token", "192.0.2.1", "a-cookie", "a-viewer", "a-uuid"):
        assert value not in f"{request!r} {grant!r}"
    assert str(edge.private_channel) in repr(request)
