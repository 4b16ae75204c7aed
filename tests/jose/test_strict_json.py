"""JSON that two parsers could read differently is none."""

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


@given(st.dictionaries(st.text(), VALUES))
def test_an_object_is_read_as_it_was_written(value: dict[str, Any]) -> None:
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
        (b'{"a":1,"a":1}', "a member twice"),
        (b'{"a":1,"\\u0061":2}', "a member twice"),
        (b'{"a":{"b":1,"b":2}}', "a member twice"),
        (b'[{"b":1,"b":2}]', "a member twice"),
        (b'{"a":"\\ud800"}', "not valid Unicode"),
        (b'{"\\udfff":1}', "not valid Unicode"),
        (b'{"a":[{"b":"\\udc00\\ud800"}]}', "not valid Unicode"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":[-1e999]}', "too large"),
        (b'{"a":NaN}', "a number that JSON does not know"),
        (b'{"a":Infinity}', "a number that JSON does not know"),
        (b'{"a":[-Infinity]}', "a number that JSON does not know"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    ],
    ids=range(31),
)
def test_what_is_ambiguous_or_broken_is_refused_by_its_rule(data: bytes, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refused:
        read_object(data)
    assert len(str(refused.value)) < 50, "it does not say back what it read"


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = read_object(data)
    except ValueError as failure:
        rule = str(failure)
    else:
        assert isinstance(value, dict)
        return
    assert rule.startswith(("is ", "has "))
