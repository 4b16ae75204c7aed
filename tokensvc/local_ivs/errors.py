"""Every error of the local IVS, each created in one place.

Invariants
- An error has the code of IVS's API and a message; `api_model.py` and the model give its HTTP status.
- A message never repeats a value of the request except a requested ARN, since values may be secrets.
- OBSERVED: The messages of `not_found` and `throttled`, for one kind of resource and one operation.
- INFERRED: Messages of API errors that were not observed are worded in the style of AWS's services, since IVS documents
  none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_LISTED_VIOLATIONS = 50
"""All violations of a request are counted, and this many are listed."""


BATCH_NOT_FOUND_CODE = "ResourceNotFoundException"
"""INFERRED: An entry of a batch that is not found has the error's name as its `code`. AWS's only sample is "403", of
another operation, for a resource without permission; the name is clearer."""


class IvsError(Exception):
    """An error response of the local IVS, with IVS's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Violation(NamedTuple):
    """A member of a request and the constraint that it violates."""

    path: str
    constraint: str


def invalid(violations: Sequence[Violation]) -> IvsError:
    """All violations in one message, worded as by AWS's services."""
    count = len(violations)
    listed = "; ".join(
        f"Value at '{path}' failed to satisfy constraint: {constraint}"
        for path, constraint in violations[:MAX_LISTED_VIOLATIONS]
    )
    return IvsError("ValidationException", f"{count} validation error{'' if count == 1 else 's'} detected: {listed}")


def invalid_member(path: str, constraint: str) -> IvsError:
    """One violation of a constraint that the model does not describe."""
    return invalid([Violation(path, constraint)])


def not_found(arn: str) -> IvsError:
    """The text was observed on the real service, for one kind of resource.

    INFERRED: A resource of any kind that is not found gets the text that was observed for one kind.
    """
    return IvsError("ResourceNotFoundException", f"Resource: {arn} not found")


def conflict(message: str) -> IvsError:
    return IvsError("ConflictException", message)


def quota_exceeded(message: str) -> IvsError:
    return IvsError("ServiceQuotaExceededException", message)


def throttled(operation: str, per_second: int, resource: str) -> IvsError:
    """The text up to the parenthesis was observed for PutMetadata and its channel.

    INFERRED: A throttled call of any operation gets the text that was observed for PutMetadata.
    """
    text = f"Operation: ivs:{operation} exceeded call rate: {per_second} for resource: {resource}"
    return IvsError(
        "ThrottlingException", f"{text} (the local IVS applies IVS's rate limits; --no-rate-limits turns them off)"
    )


def not_broadcasting(channel_arn: str) -> IvsError:
    return IvsError("ChannelNotBroadcasting", f"Channel: {channel_arn} is not broadcasting")


def not_implemented(operation: str) -> IvsError:
    """Not an error of IVS: the operation exists there but not here."""
    return IvsError("NotImplementedException", f"{operation} is not implemented by the local IVS")


def unknown_operation() -> IvsError:
    """IVS API reference, "Common Errors"."""
    return IvsError("UnknownOperationException", "The action or operation requested is not valid")
