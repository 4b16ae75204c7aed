"""Validation errors have messages of our own, without the input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tokensvc.validation_errors import MAX_ERRORS, field_errors


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    flag: bool = False


class Model(BaseModel):
    """One field for each kind of error."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(5, gt=1, le=9)
    real: float = 0.0
    text: str = Field("ab", min_length=2, max_length=3, pattern=r"^[a-z]{2,3}$")
    many: list[Annotated[int, Field(ge=0)]] = Field([1], min_length=1, max_length=2)
    choice: Literal["a", "b"] = "a"
    inner: list[Inner] = []
    params: dict[str, str] = {}


def errors_of(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as invalid:
        Model(**fields)
    return [(error.field, error.message) for error in field_errors(invalid.value)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"number": "x"}, ("number", "must be an integer")),
        ({"number": 1.5}, ("number", "must be an integer")),
        ({"number": 1}, ("number", "must be more than 1")),
        ({"number": 10}, ("number", "must be at most 9")),
        ({"number": "9" * 5000}, ("number", "must have fewer digits")),
        ({"real": "x"}, ("real", "must be a number")),
        ({"real": []}, ("real", "must be a number")),
        ({"text": "a"}, ("text", "must have at least 2 characters")),
        ({"text": "abcd"}, ("text", "must have at most 3 characters")),
        ({"text": "AB"}, ("text", "must match the pattern ^[a-z]{2,3}$")),
        ({"many": []}, ("many", "must not be empty")),
        ({"many": [1, 2, 3]}, ("many", "must have at most 2 entries")),
        ({"many": [1, -1]}, ("many[1]", "must be at least 0")),
        ({"choice": "c"}, ("choice", "must be one of 'a' or 'b'")),
        ({"inner": [{"flag": "x"}]}, ("inner[0].flag", "must be true or false")),
        ({"inner": [5]}, ("inner[0]", "must be an object")),
        ({"params": 5}, ("params", "must be an object")),
        ({"{0}": 1}, ("{0}", "is not a known field")),
    ],
)
def test_each_kind_of_error_has_its_message(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert errors_of(**fields) == [expected]


def test_a_message_of_pydantic_itself_does_not_contain_the_input() -> None:
    class Odd(BaseModel):
        many: set[int] = set()

    with pytest.raises(ValidationError) as invalid:
        Odd.model_validate({"many": "tsk_pasted"})
    [error] = field_errors(invalid.value)
    assert error.field == "many"
    assert "tsk_pasted" not in error.message


@pytest.mark.parametrize("wrong", [{"params": dict.fromkeys(map(str, range(MAX_ERRORS + 7)), 1)}, {"inner": [1] * 57}])
def test_of_many_errors_the_first_are_named_as_ever_and_the_others_counted(wrong: dict[str, Any]) -> None:
    """A client can make up as many errors as fit into a body; each would cost time, and a line of the response."""
    [(name, values)] = wrong.items()
    few = values[:5] if isinstance(values, list) else dict(list(values.items())[:5])
    found = errors_of(**wrong)
    assert found[:5] == errors_of(**{name: few})
    assert len(found) == MAX_ERRORS + 1
    assert found[-1] == ("(others)", "7 more errors")
