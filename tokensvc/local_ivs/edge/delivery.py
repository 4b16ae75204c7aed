"""Delivery: variant playlists and segments of running sessions.

Invariants
- A session's id in the path is what lets a player in: no token is read and none is verified, so key pairs and `exp`
  matter at the start of playback only (IVS user guide, "Generate and Sign Playback Tokens").
- INFERRED: Each request of a session is checked in this order: its viewer is not revoked; its origin is allowed, with
  strict enforcement; its stream is live; it has not ended; the rendition is within its maximum resolution.
- INFERRED: A session is bound to its stream: it ends with it, also if the channel goes live again.
- Without strict enforcement, origins restrict the multivariant playlist only: any page may read what follows (IVS user
  guide, "Generate and Sign Playback Tokens" and "Undesired Content and Viewers").
- INFERRED: A request with the id of a session that has ended, or that never existed, gets a 403 `Forbidden`. That was
  observed by a third party for a variant playlist an hour after its last use, without the form of the body.
- INFERRED: A revoked viewer's requests for variant playlists and segments get the same 403 as its token.
- INFERRED: A segment that is not listed yet, or can no longer be loaded, is 404.
- Only requests that are answered with 200 keep a session alive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tokensvc.local_ivs.edge import errors, media_playlist, playlist
from tokensvc.local_ivs.edge.errors import EdgeError
from tokensvc.local_ivs.edge.responses import PLAYLIST_TYPE, PlaybackResponse, cors_headers, error_response
from tokensvc.local_ivs.edge.restrictions import Restrictions
from tokensvc.local_ivs.edge.sessions import SESSION_ID_CHARS, Sessions
from tokensvc.local_ivs.edge.window import AdBreak, is_available, live_window, segment_of
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.media.loop import MediaLibrary, MediaLoop
from tokensvc.local_ivs.media.transport_stream import TimedMetadata, mark_discontinuity, with_metadata
from tokensvc.local_ivs.propagation import EdgeView
from tokensvc.local_ivs.resource_store import Resource, ResourceStore
from tokensvc.local_ivs.session_store import PlaybackSession, SessionTerms
from tokensvc.local_ivs.streams.timed_metadata import metadata_of

SEGMENT_TYPE = "video/mp2t"
"""RFC 8216, section 10."""

_SESSION_PATH = re.compile(
    rf"/v1/(playlist|segment)/([A-Za-z0-9]{{{SESSION_ID_CHARS}}})\.([0-9a-z]{{1,16}})(?:\.([0-9]{{1,12}}))?\.(m3u8|ts)"
)
_KINDS = {("playlist", False, "m3u8"), ("segment", True, "ts")}


class MediaRequest(NamedTuple):
    """A player's request for a variant playlist or a segment."""

    session_id: str
    rendition: str
    number: int | None
    """The number of a segment; None for the variant playlist."""
    path: str
    query: str
    """The raw query, as it was sent."""
    origin: str
    """The Origin header; "" if none was sent."""
    base_url: str
    """The URL under which the player reaches the edge, with which segment URLs begin."""

    def __repr__(self) -> str:
        """Without the session."""
        return f"MediaRequest(rendition={self.rendition}, number={self.number})"


def parse_request(path: str, query: str, origin: str, base_url: str) -> MediaRequest | None:
    """The request for a raw path; None if it is neither that of a variant playlist nor that of a segment."""
    found = _SESSION_PATH.fullmatch(path)
    if found is None:
        return None
    kind, session_id, rendition, number, suffix = found.groups()
    if (kind, number is not None, suffix) not in _KINDS:
        return None
    return MediaRequest(session_id, rendition, int(number) if number else None, path, query, origin, base_url)


class _Stream(NamedTuple):
    """What a request needs to know of the stream."""

    started_at: int
    ad_breaks: tuple[AdBreak, ...]
    """Those that the viewer sees."""
    metadata: Sequence[TimedMetadata]
    """That of the requested segment."""


class Delivery:
    """Serves running sessions."""

    def __init__(
        self,
        resources: ResourceStore,
        sessions: Sessions,
        library: MediaLibrary,
        *,
        propagation_seconds: float = 0.0,
    ) -> None:
        self._resources = resources
        self._sessions = sessions
        self._library = library
        self._propagation_seconds = propagation_seconds

    def handle(self, request: MediaRequest, now: float) -> PlaybackResponse:
        """The response: the variant playlist or the segment, a 403 or a 404."""
        with self._resources.begin(write=False) as transaction:
            view = EdgeView(transaction, now, self._propagation_seconds)
            session = transaction.sessions.get(request.session_id)
            if session is None:
                return _error(403, request, errors.NO_SESSION)
            terms = session.terms
            stream = stream_of(transaction, str(terms.channel))
            if error := _denied(view, request.origin, session):
                return _error(403, request, error)
            if stream is None or stream.body["streamId"] != terms.stream_id:
                return _error(404, request, errors.OFFLINE)
            if not session.is_active(now):
                return _error(403, request, errors.NO_SESSION)
            metadata = () if request.number is None else metadata_of(transaction, stream, request.number)
        response = self._media(
            request, terms, _Stream(stream.body["startTime"], _ad_breaks(stream, terms), metadata), now
        )
        if response.status == 200:
            self._sessions.touch(request.session_id, now)
        return response

    def _media(self, request: MediaRequest, terms: SessionTerms, stream: _Stream, now: float) -> PlaybackResponse:
        loop = self._library.loop(terms.media_id)
        rendition = next((r for r in loop.renditions if r.name == request.rendition), None) if loop else None
        if loop is None or rendition is None:
            return _error(404, request, errors.NO_MEDIA)
        if not playlist.renditions_up_to([rendition], terms.maximum_resolution):
            return _error(403, request, errors.ABOVE_CAP)
        if request.number is None:
            live = live_window(now, stream.started_at, loop.segments, stream.ad_breaks)
            prefix = f"{request.base_url}/v1/segment/{request.session_id}.{request.rendition}."
            content_type, body = PLAYLIST_TYPE, media_playlist.render(live, prefix).encode()
        elif is_available(request.number, now, stream.started_at):
            content_type, body = SEGMENT_TYPE, _segment(loop, request.rendition, request.number, stream)
        else:
            return _error(404, request, errors.NO_MEDIA)
        headers = (("content-type", content_type), ("cache-control", "no-store"))
        readable_by = terms.origins if terms.strict_origin else None
        return PlaybackResponse(200, (*headers, *cors_headers(request.origin, readable_by)), body)


def _denied(view: EdgeView, origin: str, session: PlaybackSession) -> EdgeError | None:
    """The error of a rule that the session no longer fulfils, or of an origin that it does not allow."""
    terms = session.terms
    viewer_id = terms.viewer_id
    if viewer_id is not None and terms.session_version <= view.revoked_version(str(terms.channel), viewer_id):
        return errors.denied_by("revoked")
    allowed = Restrictions(origins=terms.origins or (), strict_origin=terms.strict_origin)
    return allowed.violated_by(lambda: None, origin)


def _ad_breaks(stream: Resource, terms: SessionTerms) -> tuple[AdBreak, ...]:
    """The ad breaks that the viewer sees: those who opted out see none."""
    if terms.ads_opt_out:
        return ()
    return tuple(AdBreak(found["id"], found["start"], found["duration"]) for found in stream.body["adBreaks"])


def _segment(loop: MediaLoop, rendition: str, number: int, stream: _Stream) -> bytes:
    segment = segment_of(number, stream.started_at, loop.segments, stream.ad_breaks)
    shown = loop.slate(rendition) if segment.ad_break else loop.segment(rendition, number % loop.segments)
    return with_metadata(mark_discontinuity(shown) if segment.is_discontinuous else shown, stream.metadata)


def _error(status: int, request: MediaRequest, error: EdgeError) -> PlaybackResponse:
    return error_response(status, request.path, request.query, error)
