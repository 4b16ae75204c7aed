"""The playback handler: decides who gets a channel's multivariant playlist.

Invariants
- `tokens/validation.py` decides about tokens. The handler supplies what IVS knows: the key pairs imported in the
  channel's account and region, the Origin header, the viewer's revoked session versions, and the spent single uses.
- A public channel needs no token. Only a public channel applies its playback restriction policy (user guide, "Enable
  Authorization on Channels" and "Undesired Content and Viewers"): with strict enforcement every request needs an
  allowed Origin, without it origins restrict only browsers. Countries restrict nobody here: content is served if a
  viewer's location is unknown.
- INFERRED: A public channel ignores a token that is sent.
- INFERRED: A request to a public channel without the `Origin` that its restriction policy requires gets a 403 of the
  same form as for a token; a header that is not a valid origin is never allowed.
- INFERRED: Authorization is checked first, and whether there is a stream second: a private channel that is not live is
  answered with 404 only to those who may watch it. A channel that does not exist has nothing to protect, so it is 404
  for everyone.
- INFERRED: Without strict enforcement, a player whose origin the token does not allow gets a 200 without
  Access-Control-Allow-Origin, because the token's origins then restrict only browsers (IVS user guide, "Generate and
  Sign Playback Tokens").
- CORS: any origin may read a 403 or a 404, since players in browsers are documented to report both; tested with the IVS
  player 1.56.1.
"""

from __future__ import annotations

from typing import NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge import errors, playlist
from tokensvc.local_ivs.edge.single_use import SingleUses
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, RandomString
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.resource_store import Resource, ResourceStore, ResourceTransaction
from tokensvc.local_ivs.resources.playback_key_pairs import public_key
from tokensvc.local_ivs.revocations import revoked_version
from tokensvc.local_ivs.viewers import Viewers
from tokensvc.tokens import claims
from tokensvc.tokens.origins import matches, parse_origin, split_origins
from tokensvc.tokens.validation import NOTHING_REVOKED, Outcome, PlaybackAttempt, ValidationResult, validate

SESSION_ID_CHARS = 32
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_ACAO = "access-control-allow-origin"
ANY_ORIGIN = (_ACAO, "*")


class PlaybackRequest(NamedTuple):
    """A player's request for the multivariant playlist of a channel."""

    channel: Arn
    path: str
    query: str
    """The raw query, as it was sent."""
    origin: str
    """The Origin header; "" if none was sent."""
    base_url: str
    """The URL under which the player reaches the edge, with which variant URLs begin."""
    is_get: bool = True
    """Whether the method is GET. A HEAD spends no single use."""


class PlaybackResponse(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class PlaybackHandler:
    """Validates tokens and origins, and serves playlists."""

    def __init__(self, resources: ResourceStore, random_string: RandomString, viewers: Viewers | None = None) -> None:
        self._resources = resources
        self._random_string = random_string
        self._viewers = viewers or Viewers()
        self._single_uses = SingleUses(resources)

    def handle(self, request: PlaybackRequest, now: float) -> PlaybackResponse:
        """The response: the playlist, a 403 or a 404."""
        with self._resources.begin(write=False) as transaction:
            channel = transaction.get(str(request.channel))
            if channel is None:
                return _error(404, request, errors.UNKNOWN_CHANNEL)
            stream = stream_of(transaction, channel.arn)
            if not channel.body["authorized"]:
                policy = transaction.get(channel.body["playbackRestrictionPolicyArn"])
                return self._public(request, stream, now, policy)
            tokens = errors.token_parameters(request.query)
            if len(tokens) > 1:
                return _error(403, request, errors.SEVERAL_TOKENS)
            attempt = _build_attempt(transaction, request, tokens[0] if tokens else "", now)
        result = self._validate(request, attempt, now, may_spend=request.is_get and stream is not None)
        if result.outcome is not Outcome.ALLOW:
            return _error(403, request, errors.error_of(result.failed_rule))
        resolution = result.claims.get(claims.MAXIMUM_RESOLUTION)
        cors = _cors(request.origin, result.claims.get(claims.ALLOW_ORIGIN))
        return self._playlist(request, stream, now, resolution, *cors)

    def _public(
        self, request: PlaybackRequest, stream: Resource | None, now: float, policy: Resource | None
    ) -> PlaybackResponse:
        """A public channel needs no token; its restriction policy may require an origin."""
        origins: list[str] = policy.body["allowedOrigins"] if policy else []
        strict = bool(policy and policy.body["enableStrictOriginEnforcement"])
        # As for a token, a header that is not a valid origin is never allowed.
        if strict and not (matches(request.origin, origins) if origins else parse_origin(request.origin)):
            return _error(403, request, errors.strict_origin_error(request.origin))
        return self._playlist(request, stream, now, None, *_cors(request.origin, ",".join(origins) or None))

    def _validate(
        self, request: PlaybackRequest, attempt: PlaybackAttempt, now: float, *, may_spend: bool
    ) -> ValidationResult:
        """The validation result. A valid single-use token is spent in the same step if `may_spend`."""
        result = validate(attempt)
        uuid = result.claims.get(claims.SINGLE_USE_UUID)
        if result.outcome is not Outcome.ALLOW or uuid is None:
            return result
        if may_spend:
            spent = not self._single_uses.spend(request.channel, uuid, now)
        else:
            spent = self._single_uses.is_spent(request.channel, uuid)
        return validate(attempt._replace(spent=True)) if spent else result

    def _playlist(
        self,
        request: PlaybackRequest,
        stream: Resource | None,
        now: float,
        resolution: str | None,
        *headers: tuple[str, str],
    ) -> PlaybackResponse:
        if stream is None:
            return _error(404, request, errors.OFFLINE)
        if request.is_get:
            self._viewers.add(stream.body["streamId"], now)
        renditions = playlist.renditions_up_to(playlist.STANDARD_LADDER, resolution)
        text = playlist.render(renditions, request.base_url, self._random_string(ALPHANUMERIC, SESSION_ID_CHARS))
        return PlaybackResponse(
            200, (("content-type", PLAYLIST_TYPE), ("cache-control", "no-store"), *headers), text.encode()
        )


def _build_attempt(
    transaction: ResourceTransaction, request: PlaybackRequest, token: str, now: float
) -> PlaybackAttempt:
    """The playback attempt with everything that IVS knows. The viewer id is read before the signature is verified,
    which is harmless: a forged token is rejected by its signature in any case."""
    attempt = PlaybackAttempt(token, now, request.channel, None, request.origin)
    viewer_id = validate(attempt).claims.get(claims.VIEWER_ID)
    revoked = NOTHING_REVOKED
    if isinstance(viewer_id, str):
        revoked = revoked_version(transaction, str(request.channel), viewer_id)
    keys = [public_key(pair) for pair in transaction.find(request.channel.account_region, "playback-key")]
    return attempt._replace(keys=keys, revoked_version=revoked, spent=False)


def _cors(origin: str, claim: str | None) -> tuple[tuple[str, str], ...]:
    if claim is None:
        return (ANY_ORIGIN,)
    if origin and matches(origin, split_origins(claim)):
        return ((_ACAO, origin), ("vary", "origin"))
    return (("vary", "origin"),)


def _error(status: int, request: PlaybackRequest, error: errors.EdgeError) -> PlaybackResponse:
    body = errors.error_body(request.path, request.query, error)
    return PlaybackResponse(
        status, (("content-type", "application/json"), ("cache-control", "no-store"), ANY_ORIGIN), body
    )
