"""The gate: who may have a channel's multivariant playlist.

Rules of the file
- `tokens/validation.py` decides about tokens; here it is given what IVS knows: the key pairs that were imported in the
  channel's account and region, the Origin header, which session versions of the viewer were revoked, and which single
  uses were spent.
- A public channel needs no token. INFERRED: it ignores one that is sent. It alone obeys its playback restriction policy
  (user guide, "Enable Authorization on Channels" and "Undesired Content and Viewers"): strict enforcement wants an
  allowed Origin from everyone (INFERRED: 403 in the form of a token's), otherwise origins bind browsers alone.
  Countries bind nobody here: where a viewer's place cannot be told, content is served.
- INFERRED: whether one may watch comes first, whether there is something to watch second: a channel that is not live
  answers 404 to those alone who may watch it. A channel that does not exist has nothing to protect, so it is not found.
- CORS: without strict enforcement the token's origins bind browsers alone (IVS user guide, "Generate and Sign Playback
  Tokens"), so a player elsewhere is answered 200 without Access-Control-Allow-Origin (INFERRED). A 403 and a 404 may be
  read by any origin, since players in browsers are documented to report both; tried with the IVS player 1.56.1.
"""

from __future__ import annotations

from typing import NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge import errors, playlist
from tokensvc.local_ivs.edge.single_use import SingleUses
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, RandomString
from tokensvc.local_ivs.resource_store import Resource, ResourceStore, ResourceTransaction
from tokensvc.local_ivs.resources.playback_key_pairs import public_key
from tokensvc.local_ivs.revocations import revoked_version
from tokensvc.local_ivs.streams.live_streams import stream_of
from tokensvc.local_ivs.viewers import Viewers
from tokensvc.tokens import claims
from tokensvc.tokens.origins import matches, parse_origin, split_origins
from tokensvc.tokens.validation import NOTHING_REVOKED, PlaybackAttempt, Outcome, ValidationResult, validate

SESSION_ID_CHARS = 32
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_ACAO = "access-control-allow-origin"
ANY_ORIGIN = (_ACAO, "*")


class PlaybackRequest(NamedTuple):
    """A player at the gate."""

    channel: Arn
    path: str
    query: str
    """As it was sent, undecoded."""
    origin: str
    """The Origin header; "" when none was sent."""
    base_url: str
    """Where this edge was reached; variant URLs begin with it."""
    is_get: bool = True
    """Only a GET spends a single use."""


class PlaybackResponse(NamedTuple):
    """What the player gets."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class PlaybackHandler:
    """Lets players in, or not."""

    def __init__(self, resources: ResourceStore, token: RandomString, viewers: Viewers | None = None) -> None:
        self._resources = resources
        self._token = token
        self._viewers = viewers or Viewers()
        self._single_uses = SingleUses(resources)

    def admit(self, visit: PlaybackRequest, now: float) -> PlaybackResponse:
        """The playlist, a 403 or a 404."""
        with self._resources.begin(write=False) as transaction:
            channel = transaction.get(str(visit.channel))
            if channel is None:
                return _error(404, visit, errors.UNKNOWN_CHANNEL)
            stream = stream_of(transaction, channel.arn)
            if not channel.body["authorized"]:
                policy = transaction.get(channel.body["playbackRestrictionPolicyArn"])
                return self._public(visit, stream, now, policy)
            tokens = errors.token_parameters(visit.query)
            if len(tokens) > 1:
                return _error(403, visit, errors.SEVERAL_TOKENS)
            attempt = _known(transaction, visit, tokens[0] if tokens else "", now)
        verdict = self._judge(visit, attempt, now, may_spend=visit.is_get and stream is not None)
        if verdict.outcome is not Outcome.ALLOW:
            return _error(403, visit, errors.error_of(verdict.failed_rule))
        resolution = verdict.claims.get(claims.MAXIMUM_RESOLUTION)
        cors = _cors(visit.origin, verdict.claims.get(claims.ALLOW_ORIGIN))
        return self._playlist(visit, stream, now, resolution, *cors)

    def _public(self, visit: PlaybackRequest, stream: Resource | None, now: float, policy: Resource | None) -> PlaybackResponse:
        """Nobody needs a token; a restriction policy may want an origin."""
        origins: list[str] = policy.body["allowedOrigins"] if policy else []
        strict = bool(policy and policy.body["enableStrictOriginEnforcement"])
        # INFERRED, as for a token: a header that is not the form of an origin is never an allowed one.
        if strict and not (matches(visit.origin, origins) if origins else parse_origin(visit.origin)):
            return _error(403, visit, errors.strict_origin_error(visit.origin))
        return self._playlist(visit, stream, now, None, *_cors(visit.origin, ",".join(origins) or None))

    def _judge(self, visit: PlaybackRequest, attempt: PlaybackAttempt, now: float, *, may_spend: bool) -> ValidationResult:
        """The verdict; where it admits a single use and there is something to watch, that is spent by the same step."""
        verdict = validate(attempt)
        uuid = verdict.claims.get(claims.SINGLE_USE_UUID)
        if verdict.outcome is not Outcome.ALLOW or uuid is None:
            return verdict
        if may_spend:
            spent = not self._single_uses.spend(visit.channel, uuid, now)
        else:
            spent = self._single_uses.is_spent(visit.channel, uuid)
        return validate(attempt._replace(spent=True)) if spent else verdict

    def _playlist(
        self, visit: PlaybackRequest, stream: Resource | None, now: float, resolution: str | None, *headers: tuple[str, str]
    ) -> PlaybackResponse:
        if stream is None:
            return _error(404, visit, errors.OFFLINE)
        if visit.is_get:
            self._viewers.watch(stream.body["streamId"], now)
        renditions = playlist.renditions_up_to(playlist.STANDARD_LADDER, resolution)
        text = playlist.render(renditions, visit.base_url, self._token(ALPHANUMERIC, SESSION_ID_CHARS))
        return PlaybackResponse(200, (("content-type", PLAYLIST_TYPE), ("cache-control", "no-store"), *headers), text.encode())


def _known(transaction: ResourceTransaction, visit: PlaybackRequest, token: str, now: float) -> PlaybackAttempt:
    """The attempt with all that IVS knows. The viewer is read before the signature is judged; that is harmless, since
    a forged one is refused by its signature all the same."""
    blind = PlaybackAttempt(token, now, visit.channel, None, visit.origin)
    viewer_id = validate(blind).claims.get(claims.VIEWER_ID)
    revoked = NOTHING_REVOKED
    if isinstance(viewer_id, str):
        revoked = revoked_version(transaction, str(visit.channel), viewer_id)
    keys = [public_key(pair) for pair in transaction.find(visit.channel.account_region, "playback-key")]
    return blind._replace(keys=keys, revoked_version=revoked, spent=False)


def _cors(origin: str, claim: str | None) -> tuple[tuple[str, str], ...]:
    if claim is None:
        return (ANY_ORIGIN,)
    if origin and matches(origin, split_origins(claim)):
        return ((_ACAO, origin), ("vary", "origin"))
    return (("vary", "origin"),)


def _error(status: int, visit: PlaybackRequest, error: errors.EdgeError) -> PlaybackResponse:
    body = errors.error_body(visit.path, visit.query, error)
    return PlaybackResponse(status, (("content-type", "application/json"), ("cache-control", "no-store"), ANY_ORIGIN), body)
