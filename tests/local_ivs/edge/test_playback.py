"""The gate lets in whom IVS would let in, and says no as IVS does."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest

from tests.local_ivs.edge.conftest import Stage
from tests.local_ivs.environment import START, pem, start_stream
from tokensvc.local_ivs.edge.errors import ERRORS, ERRORS_BY_REASON
from tokensvc.local_ivs.edge.playback import PlaybackResponse
from tokensvc.tokens.validation import RULES

UUID = "123e4567-e89b-42d3-a456-426614174000"
ORIGIN = "https://shop.example.com"


def refused(answer: PlaybackResponse, code: str = "invalid_playback_auth_token", status: int = 403) -> str:
    """The text of an error."""
    assert answer.status == status
    (entry,) = json.loads(answer.body)
    assert entry["error_code"] == code
    assert entry["type"] == "error"
    return str(entry["error"])


def assert_already_used(answer: PlaybackResponse) -> None:
    assert refused(answer, "playback_auth_error") == "token has already been used"


def acao(answer: PlaybackResponse) -> str | None:
    return dict(answer.headers).get("access-control-allow-origin")


def test_a_good_token_opens_the_channel(stage: Stage) -> None:
    answer = stage.visit(f"token={stage.token()}")
    assert answer.status == 200
    assert dict(answer.headers)["content-type"] == "application/vnd.apple.mpegurl"
    assert dict(answer.headers)["cache-control"] == "no-store"
    assert answer.body.startswith(b"#EXTM3U\n")


def test_every_viewer_gets_a_session_of_its_own(stage: Stage) -> None:
    one, two = (stage.visit(f"token={stage.token()}").body for _ in range(2))
    assert one != two


@pytest.mark.parametrize("query", ["", "token=", "token", "player_version=1.13.0"])
def test_a_missing_token_gets_the_observed_answer(stage: Stage, query: str) -> None:
    assert refused(stage.visit(query)) == "token contains an invalid number of segments"


def test_the_refusal_repeats_path_and_query_without_the_token(stage: Stage) -> None:
    token = stage.token(2)
    answer = stage.visit(f"a=1&token={token}&player_version=1.13.0&%74oken={token}&b=%3C")
    assert token.encode() not in answer.body
    assert f'"url":"{stage.private.playback_path}?a=1\\u0026player_version=1.13.0\\u0026b=%3C"'.encode() in answer.body
    assert f'"url":"{stage.private.playback_path}"'.encode() in stage.visit(f"token={token}").body


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
def test_each_broken_rule_has_its_text(stage: Stage, claims: dict[str, Any], text: str) -> None:
    assert refused(stage.visit(f"token={stage.token(**claims)}")) == text


def test_every_rule_has_a_text() -> None:
    assert list(ERRORS) == [name for name, _ in RULES]
    for rule, reason in ERRORS_BY_REASON:
        assert ERRORS_BY_REASON[rule, reason].text != ERRORS[rule].text


def test_a_key_that_was_not_imported_opens_nothing(stage: Stage) -> None:
    assert refused(stage.visit(f"token={stage.token(2)}")) == "signature is invalid"


def test_each_imported_key_is_tried(stage: Stage) -> None:
    stage.call("ImportPlaybackKeyPair", publicKeyMaterial=pem(2))
    for key in (1, 2):
        assert stage.visit(f"token={stage.token(key)}").status == 200


def test_a_deleted_key_opens_nothing_any_more(stage: Stage) -> None:
    (pair,) = stage.call("ListPlaybackKeyPairs")["keyPairs"]
    token = stage.token()
    stage.call("DeletePlaybackKeyPair", arn=pair["arn"])
    assert refused(stage.visit(f"token={token}")) == "signature is invalid"


def test_another_algorithm_is_refused(stage: Stage) -> None:
    payload = {"aws:channel-arn": str(stage.private), "exp": int(START) + 300}
    forged = jwt.encode(payload, "a shared secret that is long enough to be one", algorithm="HS256")
    assert refused(stage.visit(f"token={forged}")) == "signing method is invalid"
    unsigned = jwt.encode(payload, "", algorithm="none")
    assert refused(stage.visit(f"token={unsigned}")) == "'none' signature type is not allowed"


def test_several_tokens_are_refused(stage: Stage) -> None:
    token = stage.token()
    assert refused(stage.visit(f"token={token}&token={token}")) == "several tokens were sent"


def test_a_public_channel_needs_no_token_and_ignores_one(stage: Stage) -> None:
    for query in ("", "token=x", f"token={stage.token()}"):
        answer = stage.visit(query, stage.public)
        assert answer.status == 200
        assert acao(answer) == "*"


def test_a_channel_that_was_made_public_opens_at_once(stage: Stage) -> None:
    assert stage.visit().status == 403
    stage.call("StopStream", channelArn=str(stage.private))
    stage.call("UpdateChannel", arn=str(stage.private), authorized=False)
    start_stream(stage.resources, stage.private)
    assert stage.visit().status == 200


def test_an_unknown_channel_is_not_found(stage: Stage) -> None:
    answer = stage.visit(f"token={stage.token()}", stage.private._replace(id="unknown"))
    assert answer.status == 404
    (entry,) = json.loads(answer.body)
    assert set(entry) == {"url", "error", "error_code", "type"}
    assert refused(answer, "transcode_does_not_exist", 404) == "Can not find channel"
    assert acao(answer) == "*"


def test_a_channel_that_is_not_live_is_not_found_by_those_who_may_watch(stage: Stage) -> None:
    """Whether it is live is told to nobody else; a visit in vain spends no single use."""
    for channel in (stage.private, stage.public):
        stage.call("StopStream", channelArn=str(channel))
    single_use = f"token={stage.token(single_use_uuid=UUID)}"
    assert stage.visit().status == 403
    assert stage.visit(f"token={stage.token(2)}").status == 403
    for answer in (stage.visit(single_use), stage.visit("", stage.public)):
        assert answer.status == 404
        assert acao(answer) == "*"
        assert refused(answer, "transcode_does_not_exist", 404) == "channel is not live"
    start_stream(stage.resources, stage.private)
    assert stage.visit(single_use).status == 200
    stage.call("StopStream", channelArn=str(stage.private))
    assert_already_used(stage.visit(single_use))


def test_whoever_starts_to_watch_is_counted_for_a_minute(stage: Stage) -> None:
    def watching(at: float) -> int:
        stage.clock.at = at
        return int(stage.call("GetStream", channelArn=str(stage.private))["stream"]["viewerCount"])

    for seconds in (0, 0, 30):
        assert stage.visit(f"token={stage.token()}", at=START + seconds).status == 200
    stage.visit(f"token={stage.token()}", is_get=False)
    stage.visit(f"token={stage.token(2)}")
    assert [watching(START + seconds) for seconds in (30, 59, 60, 89, 90)] == [3, 3, 1, 1, 0]


def test_a_single_use_is_spent_by_the_first_get(stage: Stage) -> None:
    token = stage.token(single_use_uuid=UUID)
    assert stage.visit(f"token={token}", is_get=False).status == 200
    assert stage.visit(f"token={token}").status == 200
    for is_get in (True, False):
        assert_already_used(stage.visit(f"token={token}", is_get=is_get))


def test_the_uuid_is_what_counts_not_the_token(stage: Stage) -> None:
    assert stage.visit(f"token={stage.token(single_use_uuid=UUID)}").status == 200
    other = stage.token(single_use_uuid=UUID.upper(), exp=int(START) + 200)
    assert_already_used(stage.visit(f"token={other}"))


def test_a_refused_token_spends_nothing(stage: Stage) -> None:
    strict = {"single_use_uuid": UUID, "strict_origin_enforcement": True, "access_control_allow_origin": ORIGIN}
    token = stage.token(**strict)
    assert stage.visit(f"token={token}", origin="https://evil.example").status == 403
    assert stage.visit(f"token={token}", origin=ORIGIN).status == 200


def test_of_many_players_with_one_single_use_one_gets_in(stage: Stage) -> None:
    token = stage.token(single_use_uuid=UUID)
    with ThreadPoolExecutor(8) as threads:
        statuses = [answer.status for answer in threads.map(lambda _: stage.visit(f"token={token}"), range(24))]
    assert statuses.count(200) == 1
    assert statuses.count(403) == 23


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
def test_without_strict_enforcement_origins_bind_browsers_alone(
    stage: Stage, allowed: str | None, origin: str, expected: str | None
) -> None:
    claims = {} if allowed is None else {"access_control_allow_origin": allowed}
    answer = stage.visit(f"token={stage.token(**claims)}", origin=origin)
    assert answer.status == 200
    assert acao(answer) == expected


@pytest.mark.parametrize(("origin", "status"), [(ORIGIN, 200), ("https://a.com", 403), ("", 403)])
def test_strict_enforcement_refuses_other_origins(stage: Stage, origin: str, status: int) -> None:
    token = stage.token(access_control_allow_origin=ORIGIN, strict_origin_enforcement=True)
    answer = stage.visit(f"token={token}", origin=origin)
    assert answer.status == status
    if status == 403:
        assert refused(answer) == ("origin is not allowed" if origin else "origin required")


@pytest.mark.parametrize(
    ("resolution", "heights"),
    [
        ("SD", [480, 360, 160]),
        ("HD", [720, 480, 360, 160]),
        ("FULL_HD", [1080, 720, 480, 360, 160]),
        (None, [1080, 720, 480, 360, 160]),
    ],
)
def test_a_maximum_resolution_leaves_out_what_is_higher(
    stage: Stage, resolution: str | None, heights: list[int]
) -> None:
    claims = {"maximum_resolution": resolution} if resolution else {}
    text = stage.visit(f"token={stage.token(**claims)}").body.decode()
    found = [int(height) for height in re.findall(r"RESOLUTION=\d+x(\d+)", text)]
    assert found == heights


def test_whatever_the_query_holds_there_is_an_answer(stage: Stage) -> None:
    for query in ("&&&=", "token=%ff%00", "=token", "token=a.b.c", "\xff=\x80&token=\xff", "%", "a" * 9000):
        assert stage.visit(query).status == 403
