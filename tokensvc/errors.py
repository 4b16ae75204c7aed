"""The tree of failures. No HTTP here: `web/failures.py` and `cli/` decide how a failure looks.

    TokensvcError                  code: stable string · message: safe to show · detail: for the log only
    ├─ InvalidRequest              the caller can mend it; `errors` names every bad field
    │  └─ UnreadableRequest        it is not even JSON of the right form
    ├─ NotAuthenticated            no caller stands behind the request
    ├─ NotAllowed                  the caller is known and may not
    │  ├─ ScopeMissing · ChannelNotAllowed · AnonymousViewerNotAllowed
    ├─ NotFound                    ChannelNotFound · KeyNotFound · CallerNotFound
    ├─ Conflict                    CallerExists · LostRace · ForeignDeployment · NoFreeSlot
    ├─ RequestTooLarge · RequestTooSlow
    ├─ CannotSign                  this worker cannot sign now
    │  ├─ NoSigningKey · SnapshotStale
    ├─ ControlPlaneError           IVS said no, or nothing; keeps operation, IVS's code, status and request id
    │  ├─ Denied · Throttled · QuotaExceeded · ResourceMissing · ResourceConflict · Rejected · Unavailable
    ├─ StoreError                  StoreUnavailable · StoreUnfit
    ├─ VaultError                  PrivateKeyMissing · KeyFileTooOpen · WrongPassphrase · InvalidKey
    └─ SettingsError               start-up only; lists every bad variable at once

Rules of the file
- Leaves say what happened and carry a `code` that never changes; two leaves never share one.
- `message` is shown to callers and must hold no secret, token, key or viewer id; `detail` goes to the log alone.
- Foreign exceptions become one of these at the adapter that met them and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One bad field: where it is, as the caller wrote it, and the rule it breaks."""

    field: str
    message: str


class TokensvcError(Exception):
    """Anything this service refuses or fails at, in its own words."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


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


class NotFound(TokensvcError):
    """What was named does not exist."""

    code = "not_found"


class ChannelNotFound(NotFound):
    """IVS says that there is no such channel."""

    code = "channel_not_found"


class KeyNotFound(NotFound):
    """The store knows no such key."""

    code = "key_not_found"


class CallerNotFound(NotFound):
    """The store knows no caller of this name."""

    code = "caller_not_found"


class Conflict(TokensvcError):
    """It clashes with what is there."""

    code = "conflict"


class CallerExists(Conflict):
    """A caller's name is taken for good, disabled or not."""

    code = "caller_exists"


class LostRace(Conflict):
    """Another process changed the same record first; read it again and decide anew."""

    code = "lost_race"


class ForeignDeployment(Conflict):
    """The store's keys live in another control plane or account than the one at hand."""

    code = "foreign_deployment"


class NoFreeSlot(Conflict):
    """IVS holds as many key pairs as it takes in that account and region."""

    code = "no_free_slot"


class CannotSign(TokensvcError):
    """This worker cannot sign at the moment; another, or the same a little later, can."""

    code = "cannot_sign"
    retry_after_seconds = 1


class NoSigningKey(CannotSign):
    """No key of ours is active, and readable, in the channel's account and region."""

    code = "no_signing_key"


class SnapshotStale(CannotSign):
    """The worker has not heard from the store for longer than its lease, or its clock is off."""

    code = "snapshot_stale"


class ControlPlaneError(TokensvcError):
    """IVS refused a call or did not answer. `ivs_code` is IVS's own error name, or the transport's."""

    code = "control_plane_error"

    def __init__(
        self, message: str, *, operation: str, ivs_code: str, status: int = 0, request_id: str = "", detail: str = ""
    ) -> None:
        super().__init__(message, detail=detail)
        self.operation = operation
        self.ivs_code = ivs_code
        self.status = status
        self.request_id = request_id


class Denied(ControlPlaneError):
    """IVS does not know these credentials, or they may not do this."""

    code = "control_plane_denied"


class Throttled(ControlPlaneError):
    """The account's call rate is used up; try again later."""

    code = "control_plane_throttled"


class QuotaExceeded(ControlPlaneError):
    """The account holds as many of these as IVS allows."""

    code = "control_plane_quota_exceeded"


class ResourceMissing(ControlPlaneError):
    """IVS knows no such resource, or it is not broadcasting."""

    code = "control_plane_resource_missing"


class ResourceConflict(ControlPlaneError):
    """IVS says that it clashes with what is there."""

    code = "control_plane_conflict"


class Rejected(ControlPlaneError):
    """IVS, or the client before it, found the request itself at fault."""

    code = "control_plane_rejected"


class Unavailable(ControlPlaneError):
    """IVS failed, or could not be reached in time. The effect may or may not have happened."""

    code = "control_plane_unavailable"


class StoreError(TokensvcError):
    """The store failed us."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The store did not answer in time, is locked, full or away. Nothing was acknowledged."""

    code = "store_unavailable"


class StoreUnfit(StoreError):
    """The store's schema is not the one that this version reads and writes."""

    code = "store_unfit"


class VaultError(TokensvcError):
    """A private key cannot be kept or read."""

    code = "vault_error"


class PrivateKeyMissing(VaultError):
    """The vault has no private half for this key."""

    code = "private_key_missing"


class KeyFileTooOpen(VaultError):
    """A private key's file can be read by others than its owner."""

    code = "key_file_too_open"


class WrongPassphrase(VaultError):
    """The passphrase is not the one that the store's secrets are wrapped with."""

    code = "wrong_passphrase"


class InvalidKey(VaultError):
    """It is not a P-384 key that can be read; the message says what it is."""

    code = "invalid_key"


class SettingsError(TokensvcError):
    """The settings do not hold; every bad variable is listed."""

    code = "settings_error"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("\n".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = tuple(errors)
