"""The tree of failures is whole: each leaf has a code of its own, a drawing, and a way to be shown."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest

from tokensvc import errors
from tokensvc.http.problem_details import STATUS

CLASSES = sorted(
    (c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.TokensvcError)),
    key=lambda c: c.__name__,
)
DRAWN = inspect.getdoc(errors) or ""


def test_no_two_failures_share_a_code() -> None:
    assert not [code for code, n in Counter(c.code for c in CLASSES).items() if n > 1]


@pytest.mark.parametrize("failure", CLASSES, ids=lambda c: c.__name__)
def test_every_failure_has_a_code_of_its_own(failure: type[errors.TokensvcError]) -> None:
    assert "code" in vars(failure)
    assert failure.code.replace("_", "").isalpha()
    assert failure.code.islower()


@pytest.mark.parametrize("failure", CLASSES, ids=lambda c: c.__name__)
def test_every_failure_is_drawn_in_the_tree(failure: type[errors.TokensvcError]) -> None:
    assert failure.__name__ in DRAWN.replace("·", " ").replace("├─", " ").replace("└─", " ").split()


@pytest.mark.parametrize("failure", CLASSES, ids=lambda c: c.__name__)
def test_every_failure_has_a_status(failure: type[errors.TokensvcError]) -> None:
    if failure is not errors.TokensvcError:  # the root is never raised
        assert [kind for kind in failure.__mro__ if kind in STATUS]


def test_statuses_are_those_that_the_interface_promises() -> None:
    """Spelled out a second time, so that a status changes only on purpose: clients act on it."""
    assert {kind.__name__: status for kind, status in STATUS.items()} == {
        "MalformedRequest": 400,
        "Unauthenticated": 401,
        "NotAllowed": 403,
        "NotFound": 404,
        "Conflict": 409,
        "RotationBlocked": 503,
        "PlaybackUrlUnavailable": 503,
        "RequestTimeout": 408,
        "RequestTooLarge": 413,
        "UnsupportedMediaType": 415,
        "InvalidRequest": 422,
        "SettingsError": 500,
        "VaultError": 500,
        "ControlPlaneError": 502,
        "WrappingKeyUnavailable": 503,
        "CannotSign": 503,
        "StoreError": 503,
    }


def test_an_invalid_request_names_every_field_in_its_message() -> None:
    failure = errors.InvalidRequest([errors.FieldError("a", "is required"), errors.FieldError("b", "must be x")])
    assert failure.message == "a: is required; b: must be x"


def test_detail_never_reaches_the_message() -> None:
    failure = errors.StoreUnavailable("the store cannot be reached", detail="host=10.0.0.1")
    assert "10.0.0.1" not in str(failure)
    assert "10.0.0.1" not in failure.message
