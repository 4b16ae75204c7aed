"""The tree of errors: each class has a code of its own, a line in the tree, and an HTTP status."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

from tokensvc import errors
from tokensvc.http.problem_details import STATUS

CLASSES = sorted(
    (c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.TokensvcError)),
    key=lambda c: c.__name__,
)
TREE_LINE = re.compile(r"^ {4}(?P<branches>(?:│  )*(?:[├└]─ )?)(?P<name>[A-Z]\w+)", re.M)


def test_no_two_errors_share_a_code() -> None:
    assert not [code for code, n in Counter(c.code for c in CLASSES).items() if n > 1]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_defines_a_code(error: type[errors.TokensvcError]) -> None:
    assert "code" in vars(error)
    assert error.code.replace("_", "").isalpha()
    assert error.code.islower()


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_code_is_the_name_of_its_class(error: type[errors.TokensvcError]) -> None:
    if error is not errors.TokensvcError:  # the root is never raised
        assert error.code == re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower()


@pytest.mark.slow
def test_the_tree_in_the_docstring_has_every_error_under_its_base_in_the_order_of_the_file() -> None:
    drawn: list[tuple[str, str]] = []
    bases = ["Exception"]
    for line in TREE_LINE.finditer(inspect.getdoc(errors) or ""):
        depth = len(line["branches"]) // 3
        bases[depth + 1 :] = [line["name"]]
        drawn.append((line["name"], bases[depth]))
    in_file = sorted(CLASSES, key=lambda c: inspect.getsourcelines(c)[1])
    assert drawn == [(error.__name__, error.__mro__[1].__name__) for error in in_file]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_has_an_http_status(error: type[errors.TokensvcError]) -> None:
    if error is not errors.TokensvcError:  # the root is never raised
        assert [base for base in error.__mro__ if base in STATUS]


def test_http_statuses_are_the_documented_ones() -> None:
    """The table is repeated here, so that a status changes only on purpose: clients rely on it."""
    assert {error.__name__: status for error, status in STATUS.items()} == {
        "MalformedRequest": 400,
        "Unauthenticated": 401,
        "NotAllowed": 403,
        "NotFound": 404,
        "Conflict": 409,
        "RotationBlocked": 503,
        "PlaybackUrlUnavailable": 503,
        "RateLimited": 429,
        "Overloaded": 503,
        "IssuerUnavailable": 503,
        "LimiterUnavailable": 503,
        "PolicyHookUnavailable": 503,
        "RequestTimeout": 408,
        "RequestTooLarge": 413,
        "UnsupportedMediaType": 415,
        "InvalidRequest": 422,
        "SettingsError": 500,
        "OutputUnwritable": 500,
        "VaultError": 500,
        "ControlPlaneError": 502,
        "ServiceUnreachable": 502,
        "WrappingKeyUnavailable": 503,
        "CannotSign": 503,
        "StoreError": 503,
    }


def test_an_invalid_request_names_every_field_in_its_message() -> None:
    error = errors.InvalidRequest([errors.FieldError("a", "is required"), errors.FieldError("b", "must be x")])
    assert error.message == "a: is required; b: must be x"


def test_the_message_does_not_contain_the_detail() -> None:
    error = errors.StoreUnavailable("the store cannot be reached", detail="host=10.0.0.1")
    assert "10.0.0.1" not in str(error)
    assert "10.0.0.1" not in error.message
