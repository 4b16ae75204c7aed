"""Every failure that the local IVS can utter, each made in one place.

Rules of the file
- A refusal carries the code of IVS's API and a text; `surface.py` and the model say which HTTP status that is.
- A text never repeats a value that came in, save an ARN that was asked for: values may be secrets.
- Of IVS's own texts only those of `not_found` and `throttled` are known (they were observed); all others are INFERRED
  in the manner of AWS's services, since IVS documents none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_LISTED_VIOLATIONS = 50
"""A request may break more rules than anyone would read; all are counted and this many are listed."""


BATCH_NOT_FOUND_CODE = "ResourceNotFoundException"
"""INFERRED: a batch's `code` for what is not there. The only sample that AWS shows is "403", of another operation, for
what may not be touched; an error's name says more and leaves less to guess."""


class IvsError(Exception):
    """The local IVS refuses a call."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Violation(NamedTuple):
    """One member of a request and the constraint that it breaks."""

    path: str
    constraint: str


def invalid(violations: Sequence[Violation]) -> IvsError:
    """All broken constraints in one message, as AWS's services word it."""
    count = len(violations)
    listed = "; ".join(
        f"Value at '{path}' failed to satisfy constraint: {constraint}"
        for path, constraint in violations[:MAX_LISTED_VIOLATIONS]
    )
    return IvsError("ValidationException", f"{count} validation error{'' if count == 1 else 's'} detected: {listed}")


def invalid_member(path: str, constraint: str) -> IvsError:
    """One broken constraint that the model does not describe."""
    return invalid([Violation(path, constraint)])


def not_found(arn: str) -> IvsError:
    """Observed on the real service for another kind of resource."""
    return IvsError("ResourceNotFoundException", f"Resource: {arn} not found")


def conflict(message: str) -> IvsError:
    return IvsError("ConflictException", message)


def quota_exceeded(message: str) -> IvsError:
    return IvsError("ServiceQuotaExceededException", message)


def throttled(operation: str, per_second: int, resource: str) -> IvsError:
    """Observed, up to the parenthesis, for PutMetadata and its channel. INFERRED: other operations say it so too."""
    text = f"Operation: ivs:{operation} exceeded call rate: {per_second} for resource: {resource}"
    return IvsError("ThrottlingException", f"{text} (the local IVS keeps IVS's rates; --no-rate-limits turns them off)")


def not_broadcasting(channel_arn: str) -> IvsError:
    return IvsError("ChannelNotBroadcasting", f"Channel: {channel_arn} is not broadcasting")


def not_implemented(operation: str) -> IvsError:
    """Not an error of IVS: the operation exists there and not here."""
    return IvsError("NotImplementedException", f"{operation} is not offered by the local IVS yet")


def unknown_operation() -> IvsError:
    """IVS API reference, "Common Errors"."""
    return IvsError("UnknownOperationException", "The action or operation requested is not valid")
