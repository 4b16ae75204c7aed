"""Edge: playback URLs opened as a player does, with the rule of each refusal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jwt
import pytest

from tokensvc.testing import LocalIVS
from tokensvc.testing.account import Channel, IvsAccount, KeyPair

pytestmark = pytest.mark.slow

ORIGIN = "https://app.example.com"


class Playback(NamedTuple):
    """A private channel that is live, and a key for it."""

    ivs: LocalIVS
    account: IvsAccount
    channel: Channel
    key_pair: KeyPair

    def sign(self, **claims: Any) -> str:
        """A valid token, but for the claims that are given."""
        whole = {"aws:channel-arn": self.channel.arn, "exp": int(time.time()) + 300, **claims}
        return jwt.encode(whole, self.key_pair.private_key, algorithm="ES384")


@pytest.fixture(scope="module")
def ivs() -> Iterator[LocalIVS]:
    with LocalIVS() as ivs:
        yield ivs


@pytest.fixture
def playback(ivs: LocalIVS) -> Iterator[Playback]:
    with ivs.new_account() as account:
        yield Playback(ivs, account, account.create_channel(), account.create_key_pair())
    ivs.clock.reset()


def test_a_token_opens_the_playlist(playback: Playback) -> None:
    opened = playback.ivs.edge.open(playback.channel.playback_url, token=playback.sign())
    assert (opened.status, opened.rule, opened.error_code) == (200, None, None)
    assert opened.body.startswith("#EXTM3U")
    [first, *_] = [line for line in opened.body.splitlines() if line.startswith("http")]
    assert playback.ivs.edge.open(first).status == 200, "as a player goes on"


def test_a_token_in_the_url_counts_too(playback: Playback) -> None:
    url = f"{playback.channel.playback_url}?token={playback.sign()}"
    assert playback.ivs.edge.open(url).status == 200
    assert playback.ivs.edge.open(url, token=playback.sign()).rule == "several-tokens"


def test_each_refusal_has_its_rule(playback: Playback) -> None:
    url, edge = playback.channel.playback_url, playback.ivs.edge
    other = playback.account.create_channel()
    assert edge.open(url).rule == "segments"
    assert edge.open(url, token=playback.sign(exp=1)).rule == "expiry"
    assert edge.open(other.playback_url, token=playback.sign()).rule == "channel"
    assert edge.open(url, token=playback.sign()[:-8] + "AAAAAAAA").rule == "signature"
    refused = edge.open(url, token=playback.sign(exp="soon"))
    assert (refused.status, refused.rule, refused.error_code) == (403, "expiry", "invalid_playback_auth_token")


def test_time_passes_for_the_edge_too(playback: Playback) -> None:
    token = playback.sign()
    playback.ivs.clock.advance(300)
    assert playback.ivs.edge.open(playback.channel.playback_url, token=token).rule == "expiry"


def test_an_origin_is_sent(playback: Playback) -> None:
    claims = {"aws:access-control-allow-origin": ORIGIN, "aws:strict-origin-enforcement": True}
    url, token, edge = playback.channel.playback_url, playback.sign(**claims), playback.ivs.edge
    allowed = edge.open(url, token=token, origin=ORIGIN)
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert edge.open(url, token=token, origin="https://other.example.com").rule == "strict-origin"
    assert edge.open(url, token=token).rule == "strict-origin"


def test_a_channel_that_is_not_live_is_not_refused_by_a_rule(playback: Playback) -> None:
    playback.account.stop_stream(playback.channel.arn)
    opened = playback.ivs.edge.open(playback.channel.playback_url, token=playback.sign())
    assert (opened.status, opened.rule, opened.error_code) == (404, None, "transcode_does_not_exist")


def test_a_head_request_has_no_content(playback: Playback) -> None:
    opened = playback.ivs.edge.open(playback.channel.playback_url, token=playback.sign(), method="HEAD")
    assert (opened.status, opened.content) == (200, b"")
    assert playback.ivs.edge.open(playback.channel.playback_url, method="HEAD").error_code is None


def test_an_error_that_is_not_of_the_edge_has_no_code(playback: Playback) -> None:
    opened = playback.ivs.edge.open(playback.channel.playback_url, method="DELETE")
    assert (opened.status, opened.rule, opened.error_code) == (405, None, None)


@pytest.mark.parametrize("url", ["https://example.com/a.m3u8", "http://127.0.0.1:1/a.m3u8", "a.m3u8"])
def test_no_other_server_is_ever_called(ivs: LocalIVS, url: str) -> None:
    with pytest.raises(ValueError, match="must be one of this local IVS"):
        ivs.edge.open(url)
    with pytest.raises(ValueError, match="must be one of this local IVS"):
        ivs.edge.open(ivs.url + url)
