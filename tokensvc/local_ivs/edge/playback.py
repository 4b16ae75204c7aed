"""The playback handler: decides who gets a channel's multivariant playlist.

Invariants
- `tokens/validation.py` decides about tokens. The handler supplies what IVS knows: the key pairs imported in the
  channel's account and region, the Origin header, the viewer's revoked session versions, and the spent single uses.
- A public channel needs no token, and `restrictions.py` decides about its viewers. A private channel ignores its
  playback restriction policy (user guide, "Enable Authorization on Channels").
- INFERRED: A public channel ignores a token that is sent.
- INFERRED: Authorization is checked first, and whether there is a stream second: a private channel that is not live is
  answered with 404 only to those who may watch it. A channel that does not exist has nothing to protect, so it is 404
  for everyone.
- INFERRED: Without strict enforcement, a player whose origin the token does not allow gets a 200 without
  Access-Control-Allow-Origin, because the token's origins then restrict only browsers (IVS user guide, "Generate and
  Sign Playback Tokens").
- A signature is verified outside of any transaction, so that starts do not wait for each other. Revocations and single
  uses are read in the transaction that starts the session: none begins after its viewer was revoked.
- INFERRED: Only a GET that is answered with a playlist starts a session. A HEAD gets the same headers and starts none.
- A session is started and a single use is spent in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.edge import errors, playlist, single_use
from tokensvc.local_ivs.edge.attempts import NOTHING_STORED, attempt_with_keys, stored_facts
from tokensvc.local_ivs.edge.countries import CountrySource, NoCountries, RequestHeaders
from tokensvc.local_ivs.edge.grants import Grant, grant_of_claims, grant_of_restrictions
from tokensvc.local_ivs.edge.responses import PLAYLIST_TYPE, PlaybackResponse, cors_headers, error_response
from tokensvc.local_ivs.edge.restrictions import Restrictions
from tokensvc.local_ivs.edge.sessions import SESSION_ID_CHARS, Sessions
from tokensvc.local_ivs.edge.verified_tokens import VerifiedTokens
from tokensvc.local_ivs.id_generators import ALPHANUMERIC, RandomString
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.media.loop import MediaLibrary
from tokensvc.local_ivs.propagation import EdgeView
from tokensvc.local_ivs.resource_store import Resource, ResourceStore, ResourceTransaction
from tokensvc.local_ivs.session_store import SessionTerms
from tokensvc.tokens.validation import Outcome, PlaybackAttempt, ValidationResult, validate

_MAY_PLAY = frozenset({Outcome.ALLOW, Outcome.CONDITIONAL})
"""The outcomes of a token that may play if nothing is stored that denies it."""


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
    """Whether the method is GET. A HEAD starts no session and spends no single use."""
    address: str = ""
    """The player's IP address; "" if it is unknown."""
    headers: RequestHeaders = ()

    def __repr__(self) -> str:
        """Without the token, the address and the headers."""
        return f"PlaybackRequest(channel={self.channel}, is_get={self.is_get})"


class _Denied(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, error: errors.EdgeError) -> None:
        super().__init__(error.text)
        self.status = status
        self.error = error


class _Channel(NamedTuple):
    """The requested channel."""

    attempt: PlaybackAttempt | None
    """The attempt to play a private channel, without what is stored about its token."""
    restrictions: Restrictions
    """Those of a public channel."""


class PlaybackHandler:
    """Validates tokens, applies restriction policies, starts sessions and serves playlists."""

    def __init__(
        self,
        resources: ResourceStore,
        sessions: Sessions,
        library: MediaLibrary,
        random_string: RandomString,
        *,
        countries: CountrySource | None = None,
        propagation_seconds: float = 0.0,
    ) -> None:
        self._resources = resources
        self._sessions = sessions
        self._library = library
        self._random_string = random_string
        self._countries = countries or NoCountries()
        self._propagation_seconds = propagation_seconds
        self._verified_tokens = VerifiedTokens()

    def handle(self, request: PlaybackRequest, now: float) -> PlaybackResponse:
        """The response: the playlist, a 403, a 404 or a 429."""
        try:
            return self._handle(request, now)
        except _Denied as denied:
            return error_response(denied.status, request.path, request.query, denied.error)

    def _handle(self, request: PlaybackRequest, now: float) -> PlaybackResponse:
        with self._resources.begin(write=False) as transaction:
            channel = self._read(request, self._view(transaction, now))
        if channel.attempt is None:
            self._check(channel.restrictions, request)
            result = None
        else:
            result = validate(channel.attempt)
        may_start = request.is_get and (result is None or result.outcome in _MAY_PLAY)
        with self._resources.begin(write=may_start) as transaction:
            view = self._view(transaction, now)
            if channel.attempt is None or result is None:
                grant = grant_of_restrictions(channel.restrictions)
            else:
                grant = _grant_of_token(view, request.channel, channel.attempt, result)
            stream = stream_of(transaction, str(request.channel))
            if stream is None:
                raise _Denied(404, errors.OFFLINE)
            loop = self._library.loop_for(str(request.channel), stream.body["channelName"])
            renditions = playlist.renditions_up_to(loop.renditions, grant.maximum_resolution)
            if not renditions:
                raise _Denied(403, errors.NO_RENDITION)
            terms = grant.terms(request.channel, stream.body["streamId"], loop.media_id)
            if may_start:
                session_id = self._start(view, terms, grant.single_use_uuid)
            else:
                session_id = self._random_string(ALPHANUMERIC, SESSION_ID_CHARS)
        if session_id is None:  # after the transaction, which stores the event
            raise _Denied(429, errors.TOO_MANY_VIEWERS)
        headers = (("content-type", PLAYLIST_TYPE), ("cache-control", "no-store"))
        text = playlist.render(renditions, request.base_url, session_id)
        return PlaybackResponse(200, (*headers, *cors_headers(request.origin, grant.origins)), text.encode())

    def _start(self, view: EdgeView, terms: SessionTerms, single_use_uuid: str | None) -> str | None:
        """Start a session and spend the single use. Returns the session's id, or None if there are too many views."""
        session_id = self._sessions.start(view.transaction, terms, view.now)
        if session_id is not None and single_use_uuid is not None:
            single_use.spend(view.transaction, terms.channel, single_use_uuid, view.now)
        return session_id

    def _view(self, transaction: ResourceTransaction, now: float) -> EdgeView:
        return EdgeView(transaction, now, self._propagation_seconds)

    def _read(self, request: PlaybackRequest, view: EdgeView) -> _Channel:
        channel = view.channel(request.channel)
        if channel is None:
            raise _Denied(404, errors.UNKNOWN_CHANNEL)
        if not channel.body["authorized"]:
            return _Channel(None, Restrictions.of(_policy(view.transaction, channel)))
        tokens = errors.token_parameters(request.query)
        if len(tokens) > 1:
            raise _Denied(403, errors.SEVERAL_TOKENS)
        token = tokens[0] if tokens else ""
        attempt = attempt_with_keys(view, request.channel, token, request.origin, self._verified_tokens)
        return _Channel(attempt, Restrictions())

    def _check(self, restrictions: Restrictions, request: PlaybackRequest) -> None:
        error = restrictions.violated_by(
            lambda: self._countries.country_of(request.address, request.headers), request.origin
        )
        if error is not None:
            raise _Denied(403, error)


def _policy(transaction: ResourceTransaction, channel: Resource) -> Mapping[str, Any] | None:
    """The playback restriction policy of a public channel: that of its live stream's start, else the present one."""
    stream = stream_of(transaction, channel.arn)
    if stream is not None:
        found: Mapping[str, Any] | None = stream.body["playbackRestrictionPolicy"]
        return found
    policy = transaction.get(channel.body["playbackRestrictionPolicyArn"])
    return policy.body if policy else None


def _grant_of_token(view: EdgeView, channel: Arn, attempt: PlaybackAttempt, result: ValidationResult) -> Grant:
    """What the token grants, given its result without stored facts. Raises _Denied.

    Where something is stored about the token, the rules are applied again, since the first one that fails names the
    denial.
    """
    facts = stored_facts(view, channel, result.claims)
    if facts != NOTHING_STORED:
        result = validate(attempt._replace(**facts._asdict()))
    if result.outcome not in _MAY_PLAY:
        raise _Denied(403, errors.error_of(result.failed_rule))
    return grant_of_claims(result.claims)
