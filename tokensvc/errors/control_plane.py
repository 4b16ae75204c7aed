"""What IVS answers when it does not do what it was asked."""

from __future__ import annotations

from tokensvc.errors.root import TokensvcError


class ControlPlaneError(TokensvcError):
    """IVS refused a call or did not answer. `ivs_code` is IVS's own error name, or the transport's."""

    code = "control_plane_error"

    def __init__(
        self, message: str, *, operation: str, ivs_code: str, status: int = 0, request_id: str = "", detail: str = ""
    ) -> None:
        super().__init__(message, detail=detail, subject={"operation": operation, "ivs_code": ivs_code})
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


class NothingShown(ControlPlaneError):
    """IVS shows nothing at all, so what is to be changed there may be in another account."""

    code = "control_plane_shows_nothing"


class ResourceConflict(ControlPlaneError):
    """IVS says that it clashes with what is there."""

    code = "control_plane_conflict"


class Rejected(ControlPlaneError):
    """IVS, or the client before it, found the request itself at fault."""

    code = "control_plane_rejected"


class Unavailable(ControlPlaneError):
    """IVS failed, or could not be reached in time. The effect may or may not have happened."""

    code = "control_plane_unavailable"
