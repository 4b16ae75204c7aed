"""What the one who asks can mend, or has to be told: bad input, who they are, what they may, what there is."""

from __future__ import annotations

from collections.abc import Sequence

from tokensvc.errors.root import FieldError, TokensvcError


class InvalidRequest(TokensvcError):
    """The caller can mend this: `errors` names each bad field and its rule."""

    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], message: str = "") -> None:
        super().__init__(message or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = tuple(errors)


class UnreadableRequest(InvalidRequest):
    """The body is not JSON, or not an object."""

    code = "unreadable_request"

    def __init__(self, message: str) -> None:
        super().__init__((), message)


class UnsupportedMediaType(TokensvcError):
    """The body has a content coding, or is of a media type that is not JSON."""

    code = "unsupported_media_type"


class IdempotencyKeyReused(InvalidRequest):
    """The caller used this idempotency key within its 24 hours for a request that was another one."""

    code = "idempotency_key_reused"


class RequestTooLarge(TokensvcError):
    """The body is longer than this route takes."""

    code = "request_too_large"


class RequestTooSlow(TokensvcError):
    """The body did not come in within the time that a request may take."""

    code = "request_too_slow"


class NotAuthenticated(TokensvcError):
    """No valid API key came with the request. The message never says which part was wrong."""

    code = "not_authenticated"


class NotAllowed(TokensvcError):
    """The caller is known, and its policy does not allow this."""

    code = "not_allowed"


class ScopeMissing(NotAllowed):
    """The caller was not given the scope that this route needs."""

    code = "scope_missing"


class ChannelNotAllowed(NotAllowed):
    """No channel pattern of the caller matches the channel."""

    code = "channel_not_allowed"


class AnonymousViewerNotAllowed(NotAllowed):
    """A token without a viewer id cannot be revoked, and the caller may not ask for one."""

    code = "anonymous_viewer_not_allowed"


class ViewerDenied(NotAllowed):
    """The viewer is denied, in this channel or in all; the message says until when."""

    code = "viewer_denied"


class NotFound(TokensvcError):
    """What was named does not exist."""

    code = "not_found"


class ChannelNotFound(NotFound):
    """IVS says that there is no such channel."""

    code = "channel_not_found"


class PlaybackUrlUnavailable(TokensvcError):
    """IVS has not described the channel yet, and the request requires its playback URL."""

    code = "playback_url_unavailable"
    retry_after_seconds = 2


class KeyNotFound(NotFound):
    """The store knows no such key."""

    code = "key_not_found"


class RotationNotFound(NotFound):
    """The store knows no such rotation."""

    code = "rotation_not_found"


class CallerNotFound(NotFound):
    """The store knows no caller of this name."""

    code = "caller_not_found"


class RevocationNotFound(NotFound):
    """There is no such revocation, or none that this caller may see."""

    code = "revocation_not_found"


class DenialNotFound(NotFound):
    """There is no such denial, or none that this caller may see, or it is over."""

    code = "denial_not_found"


class Conflict(TokensvcError):
    """It clashes with what is there."""

    code = "conflict"


class KeptBack(TokensvcError):
    """Another process performs what was asked for, and something keeps it back; the message says what it told."""

    code = "kept_back"
    retry_after_seconds = 5


class CallerExists(Conflict):
    """A caller's name is taken for good, disabled or not."""

    code = "caller_exists"


class LostRace(Conflict):
    """Another process changed the same record first; read it again and decide anew."""

    code = "lost_race"


class ForeignDeployment(Conflict):
    """The store's keys live in another control plane or account than the one at hand."""

    code = "foreign_deployment"


class PolicyCannotHold(Conflict):
    """The rotation policy contradicts itself, or what others leave free; the message has the arithmetic."""

    code = "policy_cannot_hold"


class PairTaken(Conflict):
    """IVS holds this public half already, under a pair that is not (or not certainly) this deployment's."""

    code = "pair_taken"


class ForeignPair(Conflict):
    """The key pair belongs to others: it is listed and counted, never touched."""

    code = "foreign_pair"


class NoFreeSlot(Conflict):
    """IVS holds as many key pairs as it takes in that account and region."""

    code = "no_free_slot"
