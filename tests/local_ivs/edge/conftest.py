"""A private channel with an imported key, a gate before it, and tokens made by a stranger's library (PyJWT)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jwt
import pytest

from tests.local_ivs.environment import HERE, START, StandingClock, counting_token, pem, private_key, start_stream
from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest, PlaybackResponse
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.viewers import Viewers


class Stage(NamedTuple):
    """The edge and what stands behind it."""

    resources: SqliteResourceStore
    ivs: LocalIvs
    gate: PlaybackHandler
    clock: StandingClock
    private: Arn
    public: Arn

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.ivs.call(HERE, operation, request, "http://edge.test")

    def visit(self, query: str = "", channel: Arn | None = None, *, at: float = START, **more: Any) -> PlaybackResponse:
        """A player asks for a channel's playlist, the private one's unless told."""
        arn = channel or self.private
        return self.gate.handle(
            PlaybackRequest(arn, arn.playback_path, query, **{"origin": "", "base_url": BASE, **more}), at
        )

    def token(self, key: int = 1, /, **claims: Any) -> str:
        """A token for the private channel; underscores in names stand for what claims are spelt with, None for none."""
        payload = {"aws:channel-arn": str(self.private), "exp": int(START) + 300}
        payload |= {f"aws:{name.replace('_', '-')}" if name != "exp" else name: value for name, value in claims.items()}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, private_key(key), algorithm="ES384")


BASE = "http://edge.test"


@pytest.fixture
def stage() -> Iterator[Stage]:
    resources = SqliteResourceStore(":memory:")
    clock, viewers = StandingClock(), Viewers()
    ivs = LocalIvs(api_model.load(), resources, clock, counting_token(), b"secret", viewers=viewers)
    ivs.call(HERE, "ImportPlaybackKeyPair", {"publicKeyMaterial": pem(1)}, "")
    private, public = (
        parse_arn(ivs.call(HERE, "CreateChannel", {"authorized": authorized}, "")["channel"]["arn"])
        for authorized in (True, False)
    )
    for channel in (private, public):
        start_stream(resources, channel)
    yield Stage(resources, ivs, PlaybackHandler(resources, counting_token(), viewers), clock, private, public)
    resources.close()
