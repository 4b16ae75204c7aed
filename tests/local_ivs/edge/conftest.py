"""A private channel with an imported key, a playback handler, and tokens made with PyJWT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jwt
import pytest

from tests.local_ivs.environment import HERE, START, FrozenClock, counting_strings, pem, private_key, start_stream
from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest, PlaybackResponse
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.viewers import Viewers


class EdgeFixture(NamedTuple):
    """The playback handler, and the local IVS behind it."""

    resources: SqliteResourceStore
    ivs: LocalIvs
    handler: PlaybackHandler
    clock: FrozenClock
    private_channel: Arn
    public_channel: Arn

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


BASE_URL = "http://edge.test"


@pytest.fixture
def edge() -> Iterator[EdgeFixture]:
    resources = SqliteResourceStore(":memory:")
    clock, viewers = FrozenClock(), Viewers()
    ivs = LocalIvs(api_model.load(), resources, clock, counting_strings(), b"secret", viewers=viewers)
    ivs.call(HERE, "ImportPlaybackKeyPair", {"publicKeyMaterial": pem(1)}, "")
    private_channel, public_channel = (
        parse_arn(ivs.call(HERE, "CreateChannel", {"authorized": authorized}, "")["channel"]["arn"])
        for authorized in (True, False)
    )
    for channel in (private_channel, public_channel):
        start_stream(resources, channel)
    yield EdgeFixture(
        resources, ivs, PlaybackHandler(resources, counting_strings(), viewers), clock, private_channel, public_channel
    )
    resources.close()
