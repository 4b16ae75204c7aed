"""What an answer of IVS to a revocation says of each viewer that it was told.

Rules of the file
- Ended for good is only what IVS says by name of this request. A bare HTTP status is that of a proxy or a load
  balancer: taking it for IVS's word would give up a revocation that IVS never heard of.
- Codes and messages are stored and displayed, so they hold printable characters alone: a text that the store does not
  take would keep its entry from ever being settled.
- What an answer leaves open is told again: twice is harmless, never is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokensvc.errors import ControlPlaneError, ControlPlaneRejected, ControlPlaneResourceMissing
from tokensvc.printable import printable

PERMANENT_ERROR_NAMES = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})
PERMANENT_BATCH_CODES = PERMANENT_ERROR_NAMES | {"400", "403", "404"}
"""INFERRED: what an entry of a batch's `errors` may say that no second attempt would change. The only sample that AWS
shows has the code "403"; the errors of the single call have names. Any other code is tried again."""

AMBIGUOUS_RESPONSE = "UnclearAnswer"
"""The code of those whom an answer with errors of nobody that was told may have meant."""


class ViewerError(NamedTuple):
    """What IVS says of one viewer."""

    code: str
    message: str

    @property
    def is_permanent(self) -> bool:
        """Whether no second attempt would change it."""
        return self.code in PERMANENT_BATCH_CODES


def is_permanent(failure: ControlPlaneError) -> bool:
    """Whether IVS refuses the call itself, and not the moment or the way to it."""
    named = isinstance(failure, ControlPlaneRejected | ControlPlaneResourceMissing) and not failure.ivs_code.isdigit()
    return named or failure.ivs_code in PERMANENT_ERROR_NAMES


def viewer_errors(answer: Mapping[str, Any], told: Sequence[tuple[str, str]]) -> list[ViewerError | None]:
    """For each (channel, viewer) that was told, what a batch's answer says against it; None where IVS took it."""
    said = {
        (error.get("channelArn"), error.get("viewerId")): ViewerError(
            printable(str(error.get("code", ""))), printable(str(error.get("message", "")))
        )
        for error in answer.get("errors") or ()
    }
    strangers = said.keys() - set(told)
    otherwise = ViewerError(AMBIGUOUS_RESPONSE, "IVS refused a viewer that it was not told of") if strangers else None
    return [said.get(who, otherwise) for who in told]
