"""Counting finds duplicate names in a JSON object exactly if a strict parser does."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokensvc.jose.strict_json import read_object, repeated_names
from tokensvc.json_objects import has_repeated_names

TEXT = st.text(st.sampled_from('ab"\\/:,{}[]\n\x7f\u00e9\U0001f600'), max_size=4)


@st.composite
def json_string(draw: st.DrawFn, text: str) -> str:
    """A string as JSON, with each character written in one of the possible ways."""
    ways = []
    for character in text:
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        escaped = json.dumps(character)[1:-1]
        units = character.encode("utf-16-be")
        by_number = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        slash = "\\/" if character == "/" else plain
        ways.append(draw(st.sampled_from([plain, plain, escaped, by_number, slash])))
    return f'"{"".join(ways)}"'


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    """An object as JSON, sometimes with duplicate names."""
    members = []
    for name in draw(st.lists(TEXT, max_size=4)):
        space = draw(st.sampled_from(["", " ", "\n"]))
        members.append(f"{draw(json_string(name))}{space}:{draw(_values(depth - 1))}")
    return "{" + ",".join(members) + "}"


@st.composite
def _values(draw: st.DrawFn, depth: int) -> str:
    kinds = ["string", "scalar"] + (["object", "list"] if depth else [])
    match draw(st.sampled_from(kinds)):
        case "string":
            return draw(json_string(draw(TEXT)))
        case "object":
            return draw(documents(depth))
        case "list":
            return "[" + ",".join(draw(st.lists(_values(depth - 1), max_size=3))) + "]"
        case _:
            return draw(st.sampled_from(["null", "true", "-1", "1.5e3", "0"]))


def has_duplicate_member(text: bytes) -> bool:
    """Whether the strict parser finds a duplicate."""
    try:
        read_object(text)
    except ValueError as error:
        return str(error) == "has a duplicate member"
    return False


@pytest.mark.slow
@settings(max_examples=200)
@given(documents())
@example('{"a":1,"a":1}')
@example('{"a":"","\\u0061":"\\""}')
@example('{"a":"\\\\","b":"\\\\\\""}')
@example('{"":"\\\\\\\\","":{}}')
@example('{"a":[{"b":{"c":1,"c":[]}}]}')
def test_duplicates_are_found_exactly_if_a_strict_parser_finds_them(document: str) -> None:
    text = document.encode()
    value = orjson.loads(text)
    assert has_repeated_names(text, value) is has_duplicate_member(text) is bool(repeated_names(text))


@pytest.mark.slow
@given(
    st.recursive(
        st.text() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_serialized_objects_have_no_duplicates(value: Any) -> None:
    for text in (json.dumps({"v": value}), json.dumps({"v": value}, ensure_ascii=False, indent=1)):
        assert not has_repeated_names(text.encode(), orjson.loads(text))


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"a":1,"b":2,"a":3,"a":4}', [("a",)]),
        ('{"a":1,"\\u0061":2,"b":1,"b":1}', [("a",), ("b",)]),
        ('{"requests":[{},{"a":1,"a":{"c":1,"c":2}}]}', [("requests", 1, "a"), ("requests", 1, "a", "c")]),
        ('{"a":[[{"b":1e999,"b":' + "9" * 5000 + "}]]}", [("a", 0, 0, "b")]),
        ('{"a":{}}', []),
    ],
    ids=range(5),
)
def test_each_duplicate_is_returned_with_its_path(text: str, paths: list[Any]) -> None:
    assert repeated_names(text.encode()) == paths


@pytest.mark.parametrize("depth", [10, 100, 253])
def test_duplicates_are_found_however_deeply_they_are_nested(depth: int) -> None:
    for innermost, is_repeated in ((b'{"b":1,"b":1}', True), (b'{"b":1,"c":1}', False)):
        text = b'{"a":' * depth + innermost + b"}" * depth
        assert has_repeated_names(text, orjson.loads(text)) is is_repeated
