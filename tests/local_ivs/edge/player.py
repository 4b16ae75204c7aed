"""A player of tests: starts at the playback handler, then loads variant playlists and segments."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

import m3u8

from tests.local_ivs.edge.conftest import BASE_URL, EdgeFixture
from tests.local_ivs.environment import START
from tests.local_ivs.hls import read_media_playlist, read_multivariant_playlist
from tests.local_ivs.ladder import label_of
from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge.delivery import Delivery, parse_request
from tokensvc.local_ivs.edge.responses import PlaybackResponse


class Player(NamedTuple):
    """One session."""

    delivery: Delivery
    variants: dict[str, str]
    """Rendition -> URL of its variant playlist."""
    origin: str = ""

    def load(self, url: str, at: float) -> PlaybackResponse:
        path = urlsplit(url).path
        request = parse_request(path, "", self.origin, BASE_URL)
        assert request is not None, path
        return self.delivery.handle(request, at)

    def playlist(self, at: float, rendition: str = "480p30") -> m3u8.M3U8:
        """The variant playlist, which must be valid."""
        response = self.load(self.variants[rendition], at)
        assert response.status == 200
        return read_media_playlist(response.body)

    def status(self, at: float) -> int:
        """The status of a variant playlist."""
        return self.load(self.variants["480p30"], at).status

    def segments(self, at: float) -> list[str]:
        """The labels of all listed segments."""
        responses = [self.load(segment.uri, at) for segment in self.playlist(at).segments]
        assert {response.status for response in responses} == {200}
        return [label_of(response.body) for response in responses]


def start(
    edge: EdgeFixture, query: str = "", channel: Arn | None = None, *, at: float = START, origin: str = ""
) -> Player:
    """Start a session. Without a query, on the private channel with a valid token."""
    if channel is None and not query:
        query = f"token={edge.token()}"
    response = edge.get_playlist(query, channel, at=at, origin=origin)
    assert response.status == 200, response.body
    found = read_multivariant_playlist(response.body)
    variants = {playlist.stream_info.video: playlist.uri for playlist in found.playlists}
    return Player(edge.delivery, variants, origin)
