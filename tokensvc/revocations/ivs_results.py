"""Reads IVS's response to a revocation request: the error, if any, for each viewer.

Invariants
- Only an error that IVS itself names is permanent. A bare HTTP status may come from a proxy or a load balancer;
  treating it as permanent would drop a revocation that IVS never received.
- Codes and messages are stored and displayed, so they contain printable characters only: a text that the store rejects
  would keep its entry from ever being recorded.
- What a response leaves open is retried: a repeated revocation is harmless, a missing one is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokensvc.errors import ControlPlaneError, ControlPlaneRejected, ControlPlaneResourceMissing
from tokensvc.printable import printable

PERMANENT_ERROR_NAMES = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})
PERMANENT_BATCH_CODES = PERMANENT_ERROR_NAMES | {"400", "403", "404"}
"""The codes of a batch response's `errors` that a retry would not change. Any other code is retried.

INFERRED: A viewer in a batch of revocations that IVS rejects permanently has an error's name or an HTTP status as its
`code`: the only sample that AWS shows has the code "403", and the errors of the single operation have names.
"""

AMBIGUOUS_RESPONSE = "AmbiguousResponse"
"""The code for viewers whose result is unknown, because the response has an error for a viewer that was not sent."""


class ViewerError(NamedTuple):
    """IVS's error for one viewer."""

    code: str
    message: str

    @property
    def is_permanent(self) -> bool:
        """Whether a retry would not change it."""
        return self.code in PERMANENT_BATCH_CODES


def is_permanent(failure: ControlPlaneError) -> bool:
    """Whether IVS rejects the request itself, so that a retry would not change it."""
    named = isinstance(failure, ControlPlaneRejected | ControlPlaneResourceMissing) and not failure.ivs_code.isdigit()
    return named or failure.ivs_code in PERMANENT_ERROR_NAMES


def viewer_errors(response: Mapping[str, Any], sent: Sequence[tuple[str, str]]) -> list[ViewerError | None]:
    """For each (channel, viewer) that was sent, its error in a batch response; None where IVS accepted it."""
    errors = {
        (error.get("channelArn"), error.get("viewerId")): ViewerError(
            printable(str(error.get("code", ""))), printable(str(error.get("message", "")))
        )
        for error in response.get("errors") or ()
    }
    unexpected = errors.keys() - set(sent)
    default = (
        ViewerError(AMBIGUOUS_RESPONSE, "IVS reported an error for a viewer that was not sent") if unexpected else None
    )
    return [errors.get(viewer, default) for viewer in sent]
