"""What IVS refuses for good ends; what it did not say, or somebody else said for it, is tried again."""

from __future__ import annotations

import pytest

from tokensvc.errors import (
    ControlPlaneDenied,
    ControlPlaneError,
    ControlPlaneRejected,
    ControlPlaneResourceMissing,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
)
from tokensvc.revocations.ivs_results import AMBIGUOUS_RESPONSE, ViewerError, is_permanent, viewer_errors

ANN, BOB, EVE = ("channel", "ann"), ("channel", "bob"), ("channel", "eve")


def error(channel: str, viewer: str, code: str) -> dict[str, str]:
    return {"channelArn": channel, "viewerId": viewer, "code": code, "message": "words"}


def test_each_is_told_its_own_refusal() -> None:
    assert viewer_errors({}, [ANN, BOB]) == [None, None]
    assert viewer_errors({"errors": None}, [ANN]) == [None]
    assert viewer_errors({"errors": [error(*BOB, "403")]}, [ANN, BOB]) == [None, ViewerError("403", "words")]


def test_what_is_said_is_printable_whatever_it_holds() -> None:
    """It is stored: PostgreSQL would refuse NUL and half of a surrogate pair each time that the entry is settled."""
    odd = error(*ANN, "4\0") | {"message": "\0\x1b[2J\ud800"}
    assert viewer_errors({"errors": [odd]}, [ANN]) == [ViewerError(r"4\x00", r"\x00\x1b[2J\ud800")]


@pytest.mark.parametrize("stranger", [error(*EVE, "403"), {"code": "403"}, {}])
def test_an_error_of_nobody_that_was_told_leaves_it_open_who_was_taken(stranger: dict[str, str]) -> None:
    """Taking them for sent could lose the one that it means."""
    ann, bob = viewer_errors({"errors": [stranger, error(*BOB, "403")]}, [ANN, BOB])
    assert ann is not None
    assert (ann.code, ann.is_permanent) == (AMBIGUOUS_RESPONSE, False)
    assert bob == ViewerError("403", "words")


@pytest.mark.parametrize("code", ["403", "404", "400", "AccessDeniedException", "ResourceNotFoundException"])
def test_an_entry_is_refused_for_good_by_name_or_number(code: str) -> None:
    assert ViewerError(code, "").is_permanent


@pytest.mark.parametrize("code", ["500", "429", "ThrottlingException", "InternalServerException", "never seen", ""])
def test_an_entry_with_any_other_code_is_tried_again(code: str) -> None:
    assert not ViewerError(code, "").is_permanent


@pytest.mark.parametrize(
    ("kind", "code", "final"),
    [
        (ControlPlaneResourceMissing, "ResourceNotFoundException", True),
        (ControlPlaneRejected, "ValidationException", True),
        (ControlPlaneRejected, "ParamValidationError", True),
        (ControlPlaneDenied, "AccessDeniedException", True),
        (ControlPlaneDenied, "ExpiredTokenException", False),
        (ControlPlaneDenied, "403", False),
        (ControlPlaneRejected, "404", False),
        (ControlPlaneRejected, "413", False),
        (ControlPlaneThrottled, "ThrottlingException", False),
        (ControlPlaneUnavailable, "InternalServerException", False),
    ],
)
def test_a_call_is_refused_for_good_by_name_alone(kind: type[ControlPlaneError], code: str, final: bool) -> None:
    """A bare number is a proxy's page: IVS may never have heard of the call."""
    assert is_permanent(kind("no", operation="Start", ivs_code=code)) is final
