"""A private channel with an imported key, a playback handler, and tokens made with PyJWT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jwt
import pytest

from tests.local_ivs.environment import HERE, START, FrozenClock, counting_strings, pem, private_key, start_stream
from tests.local_ivs.ladder import Ladder
from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.edge.countries import CountrySource
from tokensvc.local_ivs.edge.delivery import Delivery
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest
from tokensvc.local_ivs.edge.responses import PlaybackResponse
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.session_store import PlaybackSession
from tokensvc.local_ivs.storage import SqliteResourceStore


class EdgeFixture(NamedTuple):
    """The playback handler, and the local IVS behind it."""

    resources: SqliteResourceStore
    ivs: LocalIvs
    handler: PlaybackHandler
    clock: FrozenClock
    private_channel: Arn
    public_channel: Arn
    ladder: Ladder
    delivery: Delivery

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.ivs.call(HERE, operation, request, "http://edge.test")

    def get_playlist(
        self, query: str = "", channel: Arn | None = None, *, at: float = START, **more: Any
    ) -> PlaybackResponse:
        """Request the playlist of a channel; the default is the private one."""
        arn = channel or self.private_channel
        return self.handler.handle(
            PlaybackRequest(arn, arn.playback_path, query, **{"origin": "", "base_url": BASE_URL, **more}), at
        )

    def token(self, key: int = 1, /, **claims: Any) -> str:
        """A token for the private channel. Claim names have underscores instead of hyphens; None removes a claim."""
        payload = {"aws:channel-arn": str(self.private_channel), "exp": int(START) + 300}
        payload |= {f"aws:{name.replace('_', '-')}" if name != "exp" else name: value for name, value in claims.items()}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, private_key(key), algorithm="ES384")

    def sessions(self, at: float) -> list[PlaybackSession]:
        """The active sessions, newest first."""
        return Sessions(self.resources, counting_strings()).active(at)

    def with_quota(self, max_views: int) -> EdgeFixture:
        """The same edge with another quota of concurrent views."""
        sessions = Sessions(self.resources, random_string, max_views)
        return self._replace(handler=PlaybackHandler(self.resources, sessions, self.ladder, random_string))

    def with_countries(self, countries: CountrySource) -> EdgeFixture:
        """The same edge with another way to determine countries."""
        sessions = Sessions(self.resources, random_string)
        return self._replace(
            handler=PlaybackHandler(self.resources, sessions, self.ladder, random_string, countries=countries)
        )


BASE_URL = "http://edge.test"


@pytest.fixture
def edge() -> Iterator[EdgeFixture]:
    resources = SqliteResourceStore(":memory:")
    clock, strings = FrozenClock(), counting_strings()
    ivs = LocalIvs(api_model.load(), resources, clock, strings, b"secret")
    ivs.call(HERE, "ImportPlaybackKeyPair", {"publicKeyMaterial": pem(1)}, "")
    private_channel, public_channel = (
        parse_arn(ivs.call(HERE, "CreateChannel", {"authorized": authorized}, "")["channel"]["arn"])
        for authorized in (True, False)
    )
    for channel in (private_channel, public_channel):
        start_stream(resources, channel)
    sessions, ladder = Sessions(resources, strings), Ladder()
    handler = PlaybackHandler(resources, sessions, ladder, strings)
    delivery = Delivery(resources, sessions, ladder)
    yield EdgeFixture(resources, ivs, handler, clock, private_channel, public_channel, ladder, delivery)
    resources.close()
