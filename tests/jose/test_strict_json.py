"""JSON that two parsers could interpret differently is rejected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.jose.strict_json import read_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4),
    max_leaves=10,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), VALUES))
def test_a_serialized_object_is_parsed_back(value: dict[str, Any]) -> None:
    assert read_object(json.dumps(value).encode()) == value
    assert read_object(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{}{}", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":1}\x00', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a":"\n"}', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"a"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a":1,"a":1}', "a duplicate member"),
        (b'{"a":1,"\\u0061":2}', "a duplicate member"),
        (b'{"a":{"b":1,"b":2}}', "a duplicate member"),
        (b'[{"b":1,"b":2}]', "a duplicate member"),
        (b'{"a":"\\ud800"}', "not valid Unicode"),
        (b'{"\\udfff":1}', "not valid Unicode"),
        (b'{"a":[{"b":"\\udc00\\ud800"}]}', "not valid Unicode"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":[-1e999]}', "too large"),
        (b'{"a":NaN}', "NaN or Infinity, which JSON does not allow"),
        (b'{"a":Infinity}', "NaN or Infinity, which JSON does not allow"),
        (b'{"a":[-Infinity]}', "NaN or Infinity, which JSON does not allow"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    ],
    ids=range(31),
)
def test_ambiguous_or_malformed_json_is_rejected_with_the_rule(data: bytes, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as raised:
        read_object(data)
    assert len(str(raised.value)) < 50, "the input is not repeated"


@given(st.binary(max_size=40))
def test_any_bytes_are_parsed_or_rejected(data: bytes) -> None:
    try:
        value = read_object(data)
    except ValueError as error:
        rule = str(error)
    else:
        assert isinstance(value, dict)
        return
    assert rule.startswith(("is ", "has "))


@pytest.mark.parametrize("name", ["a", "\\u0041"])
def test_nesting_of_any_depth_is_parsed_or_rejected(name: str) -> None:
    """Also where the parser just about manages, and what checks its result needs more of the stack."""
    for depth in (*range(100), *range(800, 1100)):
        nested = f'{{"{name}":' * depth + "1" + "}" * depth
        try:
            read_object(nested.encode())
        except ValueError as error:
            assert str(error) in ("is not JSON", "is not a JSON object")  # noqa: PT017 - it may also be accepted
