"""Values are validated against their shapes, and all violations are reported together."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest

from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.shapes import Violations, compile_pattern, compile_reader, compile_renderer

SHAPES: dict[str, dict[str, Any]] = {
    "Name": {"type": "string", "min": 2, "max": 4, "pattern": "[a-z]*"},
    "Colour": {"type": "string", "enum": ["RED", "BLUE"]},
    "Count": {"type": "integer", "min": 1, "max": 9},
    "Long": {"type": "long"},
    "Flag": {"type": "boolean"},
    "Instant": {"type": "timestamp", "timestampFormat": "iso8601"},
    "Names": {"type": "list", "member": {"shape": "Name"}, "min": 1, "max": 2},
    "Tags": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Name"}, "max": 2},
    "Inner": {"type": "structure", "required": ["name"], "members": {"name": {"shape": "Name"}}},
    "Outer": {
        "type": "structure",
        "required": ["count"],
        "members": {
            "count": {"shape": "Count"},
            "inner": {"shape": "Inner"},
            "names": {"shape": "Names"},
            "header": {"shape": "Name", "location": "header", "locationName": "X-Name"},
        },
    },
}


def read(shape: str, value: Any) -> tuple[Any, Violations]:
    violations: Violations = []
    return compile_reader(SHAPES, shape)(value, "x", violations), violations


@pytest.mark.parametrize(
    ("shape", "value", "constraint"),
    [
        ("Name", 1, "a string"),
        ("Name", "a", "length greater than or equal to 2"),
        ("Name", "abcde", "length less than or equal to 4"),
        ("Name", "ab1", r"pattern: [a-z]*"),
        ("Name", "ab\n", r"pattern: [a-z]*"),
        ("Name", "ab\ud800", "valid Unicode"),
        ("Colour", "GREEN", "enum value set: [RED, BLUE]"),
        ("Count", True, "an integer"),
        ("Count", 1.0, "an integer"),
        ("Count", "1", "an integer"),
        ("Count", 0, "value greater than or equal to 1"),
        ("Count", 10, "value less than or equal to 9"),
        ("Long", 2**63, "value less than or equal to 9223372036854775807"),
        ("Flag", 1, "true or false"),
        ("Flag", "true", "true or false"),
        ("Instant", "yesterday", "timestamp"),
        ("Instant", True, "timestamp"),
        ("Instant", 1e300, "timestamp"),
        ("Instant", float("nan"), "timestamp"),
        ("Names", {}, "a list"),
        ("Names", [], "length greater than or equal to 1"),
        ("Names", ["ab", "cd", "ef"], "length less than or equal to 2"),
        ("Tags", [], "an object"),
        ("Tags", {"ab": "cd", "ef": "gh", "ij": "kl"}, "length less than or equal to 2"),
        ("Outer", [], "an object"),
    ],
)
def test_an_invalid_value_is_reported_with_its_constraint(shape: str, value: Any, constraint: str) -> None:
    _, violations = read(shape, value)
    assert [violation.path for violation in violations] == ["x"]
    assert constraint in violations[0].constraint


@pytest.mark.parametrize(
    ("shape", "value"),
    [("Name", "ab"), ("Colour", "RED"), ("Count", 9), ("Long", -(2**63)), ("Flag", False), ("Tags", {})],
)
def test_a_valid_value_is_returned_unchanged(shape: str, value: Any) -> None:
    assert read(shape, value) == (value, [])


def test_every_violation_is_reported_with_its_path() -> None:
    _, violations = read("Outer", {"inner": {}, "names": [None, "x"]})
    assert violations == [
        Violation("x.count", "Member must not be null"),
        Violation("x.inner.name", "Member must not be null"),
        Violation("x.names.1.member", "Member must not be null"),
        Violation("x.names.2.member", "Member must have length greater than or equal to 2"),
    ]


def test_unknown_and_null_members_are_dropped() -> None:
    assert read("Outer", {"count": 1, "names": None, "other": 5}) == ({"count": 1}, [])


@pytest.mark.parametrize(
    "sent", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00", "2026-01-02T04:04:05+01:00", 1767323045, 1767323045.0]
)
def test_a_timestamp_may_be_a_string_or_a_number(sent: str | float) -> None:
    assert read("Instant", sent) == (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), [])
    assert compile_renderer(SHAPES, "Instant")(sent) == "2026-01-02T03:04:05Z"


def test_rendering_keeps_only_the_modelled_members_of_the_body() -> None:
    render = compile_renderer(SHAPES, "Outer")
    assert render({"count": 1, "header": "ab", "inner": {"name": "ab", "secret": 1}, "names": None, "z": 2}) == {
        "count": 1,
        "inner": {"name": "ab"},
    }


@pytest.mark.slow
def test_tag_patterns_allow_unicode_letters_separators_and_numbers() -> None:
    key = compile_pattern(r"([\p{L}\p{Z}\p{N}_.:/=+\-@]+)")
    for number in range(0x110000):
        char = chr(number)
        expected = unicodedata.category(char)[0] in "LZN" or char in "_.:/=+-@"
        if bool(key.fullmatch(char)) is not expected:
            pytest.fail(f"U+{number:04X}")


def test_a_pattern_that_cannot_be_translated_raises_value_error() -> None:
    with pytest.raises(ValueError, match="cannot be translated"):
        compile_pattern(r"\p{Lu}+")
