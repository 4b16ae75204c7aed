"""The errors of the client.

    TokensError
      NoResponseError          no response arrived: connection, time-out, deadline
      InvalidResponseError     the response is not one of tokensvc
      ProblemError             tokensvc refused or failed; `code` says why
        InvalidRequestError      400, 405, 413, 415, 422, 431, 501, 505: the request has to change
        UnauthenticatedError     401
        PermissionDeniedError    403
        NotFoundError            404
        ConflictError            409
        RateLimitedError         429
        ServerError              other 5xx, and 408
          UnavailableError         502, 503, 504

Invariants
- Act on the class and on `code`. A code that this version does not know is a plain string, and the class is that of its
  status.
- No message and no repr contains an API key, a token or a viewer id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tokensvc.client.problem_codes import ProblemCode


class FieldError(NamedTuple):
    """An invalid field of a request."""

    field: str
    """Its path, such as `ads.playerParams` or `allowedOrigins[2]`."""
    message: str
    """The rule that it breaks."""


class TokensError(Exception):
    """Base of all errors that a call can raise, except ValueError and TypeError for arguments that cannot be sent."""

    attempts: int = 1
    """How often the request was sent."""


class NoResponseError(TokensError):
    """No response arrived. Whether the request was handled is unknown; every request of this client may be repeated,
    a revocation with the same idempotency key."""


class InvalidResponseError(TokensError):
    """The response is not one of tokensvc: a redirect, another service's page, JSON of another form, or too long.
    Check `base_url`."""


class ProblemError(TokensError):
    """tokensvc responded with problem details (RFC 9457), or a proxy in front of it with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        """The HTTP status; of an item of a batch, the one that it would have had alone."""
        self.code: ProblemCode | str = ProblemCode(code) if code in _KNOWN else code
        """What happened. Empty if the response has no problem details, as that of a proxy."""
        self.detail = detail
        """What happened, for people."""
        self.errors = errors
        """Each invalid field, with the codes `invalid_request`, `idempotency_key_reused` and `claim_required`."""
        self.retry_after_seconds = retry_after_seconds
        """When the same request may succeed. None: the response does not say."""
        self.request_id = request_id
        """The id by which the service's log has the request."""

    def __str__(self) -> str:
        text = f"{self.status} {self.code}: {self.detail}" if self.code else f"{self.status}: {self.detail}"
        return f"{text} (request {self.request_id})" if self.request_id else text


class InvalidRequestError(ProblemError):
    """The request has to change: `errors` names each invalid field."""


class UnauthenticatedError(ProblemError):
    """The API key or login token is missing, unknown, disabled or expired."""


class PermissionDeniedError(ProblemError):
    """The caller, or the viewer, may not have this."""


class NotFoundError(ProblemError):
    """There is no such channel, revocation, denial or key for this caller."""


class ConflictError(ProblemError):
    """The request contradicts the present state."""


class RateLimitedError(ProblemError):
    """A limit of the caller, viewer or channel is reached until `retry_after_seconds` have passed."""


class ServerError(ProblemError):
    """The service failed."""


class UnavailableError(ServerError):
    """The service cannot respond at present; repeating the request later usually helps."""


_KNOWN = frozenset(ProblemCode)
_BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: UnauthenticatedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    409: ConflictError,
    429: RateLimitedError,
    501: InvalidRequestError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    505: InvalidRequestError,
}


def error_class(status: int) -> type[ProblemError]:
    """The class of errors with this status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequestError)
