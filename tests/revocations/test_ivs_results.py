"""Only errors that IVS names itself are permanent; an unclear result or a proxy's error is retried."""

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


def test_each_viewer_gets_its_own_error() -> None:
    assert viewer_errors({}, [ANN, BOB]) == [None, None]
    assert viewer_errors({"errors": None}, [ANN]) == [None]
    assert viewer_errors({"errors": [error(*BOB, "403")]}, [ANN, BOB]) == [None, ViewerError("403", "words")]


def test_codes_and_messages_are_made_printable() -> None:
    """They are stored, and PostgreSQL would reject NUL and half of a surrogate pair on every attempt to record them."""
    odd = error(*ANN, "4\0") | {"message": "\0\x1b[2J\ud800"}
    assert viewer_errors({"errors": [odd]}, [ANN]) == [ViewerError(r"4\x00", r"\x00\x1b[2J\ud800")]


@pytest.mark.parametrize("unexpected", [error(*EVE, "403"), {"code": "403"}, {}])
def test_an_error_for_an_unknown_viewer_makes_the_other_results_ambiguous(unexpected: dict[str, str]) -> None:
    """Counting them as sent could lose the viewer that the error is about."""
    ann, bob = viewer_errors({"errors": [unexpected, error(*BOB, "403")]}, [ANN, BOB])
    assert ann is not None
    assert (ann.code, ann.is_permanent) == (AMBIGUOUS_RESPONSE, False)
    assert bob == ViewerError("403", "words")


@pytest.mark.parametrize("code", ["403", "404", "400", "AccessDeniedException", "ResourceNotFoundException"])
def test_an_entry_is_rejected_permanently_by_name_or_number(code: str) -> None:
    assert ViewerError(code, "").is_permanent


@pytest.mark.parametrize("code", ["500", "429", "ThrottlingException", "InternalServerException", "never seen", ""])
def test_an_entry_with_any_other_code_is_retried(code: str) -> None:
    assert not ViewerError(code, "").is_permanent


@pytest.mark.parametrize(
    ("kind", "code", "permanent"),
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
def test_a_call_is_rejected_permanently_only_by_name(kind: type[ControlPlaneError], code: str, permanent: bool) -> None:
    """A bare number may come from a proxy, and IVS may never have received the call."""
    assert is_permanent(kind("no", operation="Start", ivs_code=code)) is permanent
