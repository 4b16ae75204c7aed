"""A local IVS with its watch page, in this process, and what a browser would send to the page's API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.http_client import Client, Response
from tests.support.servers import serving
from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import SystemClock
from tokensvc.container.watch_key import OwnKeyTokens
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsComponents, LocalIvsSettings, build
from tokensvc.local_ivs.media.loop import MediaLibrary, MediaLoop, Rendition
from tokensvc.local_ivs.media.ready_made import MEDIA_ID, RENDITION, ReadyMadeLoop
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.watch.mounting import watch_page, with_page

REGION = "us-west-2"
ACCOUNT_REGION = AccountRegion("000000000000", REGION)
FULL_HD = Rendition(1920, 1080, 30, 900_000, RENDITION.codecs)
HD = Rendition(1280, 720, 30, 600_000, RENDITION.codecs)


class LadderLoop:
    """The ready-made loop under the names of several renditions, for tests that need no sharper picture."""

    media_id = MEDIA_ID
    segments = 1

    def __init__(self, *renditions: Rendition) -> None:
        self.renditions = renditions
        self._loop = ReadyMadeLoop()

    def segment(self, rendition: str, position: int) -> bytes:
        assert rendition in [known.name for known in self.renditions]
        return self._loop.segment(RENDITION.name, position)

    def slate(self, rendition: str) -> bytes:
        return self._loop.slate(RENDITION.name)


class LadderLibrary:
    """Every channel plays it; without an argument, in three renditions."""

    def __init__(self, *renditions: Rendition) -> None:
        self._loop = LadderLoop(*(renditions or (FULL_HD, HD, RENDITION)))

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:
        return self._loop

    def loop(self, media_id: str) -> MediaLoop | None:
        return self._loop if media_id == MEDIA_ID else None


class WatchSite(NamedTuple):
    """The site."""

    url: str
    components: LocalIvsComponents

    def read(self, session_id: str | None = None, **query: str) -> Any:
        """The overview."""
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        headers = {} if session_id is None else {"tokensvc-watch-session": session_id}
        with Client(self.url) as client:
            response = client.request("GET", f"/watch/api/overview?{parameters}", headers=headers)
        assert response.status == 200, response
        return response.json

    def act(self, name: str, fields: Any, **headers: str) -> Response:
        """An action, with the headers that a browser sends for the page itself, or with others."""
        sent = {"content-type": "application/json", "origin": self.url, "sec-fetch-site": "same-origin"}
        sent |= {header.replace("_", "-"): value for header, value in headers.items()}
        with Client(self.url) as client:
            return client.request("POST", f"/watch/api/{name}", json.dumps(fields), sent)

    def create_channel(self, name: str = "main-stage", *, authorized: bool = True) -> str:
        """The ARN of a new channel that is on air."""
        response = self.act("channels", {"name": name, "authorized": authorized})
        assert response.status == 201, response
        return str(response.json["arn"])

    def restrict(self, arn: str, **policy: object) -> None:
        """Give a channel that is on air a playback restriction policy, which applies from its next stream on."""
        ivs = self.components.ivs
        made = ivs.call(ACCOUNT_REGION, "CreatePlaybackRestrictionPolicy", policy, "")["playbackRestrictionPolicy"]
        self.act("streams", {"channelArn": arn, "live": False})
        members = {"arn": arn, "playbackRestrictionPolicyArn": made["arn"]}
        ivs.call(ACCOUNT_REGION, "UpdateChannel", members, "")
        self.act("streams", {"channelArn": arn, "live": True})

    def token(self, arn: str, **fields: object) -> Any:
        """The response to a token request."""
        response = self.act("tokens", {"channelArn": arn, "viewerId": "ada", **fields})
        assert response.status == 201, response.body
        return response.json

    def playlist(self, arn: str, token: str) -> Response:
        """What the edge responds to a player."""
        path = next(channel["playbackPath"] for channel in self.read()["channels"] if channel["arn"] == arn)
        with Client(self.url) as client:
            return client.get(f"{path}?token={token}")


@contextlib.contextmanager
def watch_site(media: MediaLibrary | None = None, **settings: Any) -> Iterator[WatchSite]:
    """Serve it while the block runs, with these settings of the local IVS."""
    resources = SqliteResourceStore(":memory:")
    configured = LocalIvsSettings(rate_limits=False, media=media or LadderLibrary(), **settings)
    components = build(resources, configured, AdvanceableClock(SystemClock()))
    page = watch_page(components, OwnKeyTokens(components.ivs, components.clock), REGION)
    with serving(with_page(page, components.site)) as url:
        yield WatchSite(url, components)
    resources.close()
