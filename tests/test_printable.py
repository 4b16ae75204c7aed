"""Text from outside: what is accepted, and that only printable characters are displayed."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.printable import check_no_controls, check_unicode, printable, printable_json

any_text = st.text(st.characters(), max_size=20)
"""Surrogates included."""


@given(any_text)
def test_control_characters_are_rejected_and_no_others(text: str) -> None:
    if any(unicodedata.category(c) == "Cc" for c in text):
        with pytest.raises(ValueError, match="control characters"):
            check_no_controls(text)
    else:
        assert check_no_controls(text) == text


@pytest.mark.parametrize("text", ["\0", "a\x1b[2J", "\n", "\t", "\x7f", "\x9b31m", "\x80"])
def test_each_kind_of_control_character_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        check_no_controls(text)


@pytest.mark.parametrize("text", ["", "ada", "Jürgen", "👩‍🚀", "می‌خواهم", "\u202e", "\u2028", "\ue000"])
def test_invisible_characters_that_scripts_and_emoji_need_are_accepted(text: str) -> None:
    assert check_no_controls(text) == check_unicode(text) == text


@given(any_text)
def test_half_of_a_surrogate_pair_is_rejected(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="UTF-8"):
            check_unicode(text)
    else:
        assert check_unicode(text) == text


@given(any_text)
def test_displayed_text_is_printable_and_printable_text_is_unchanged(text: str) -> None:
    assert printable(text).isprintable()
    check_unicode(printable(text))
    assert printable(printable(text)) == printable(text)
    if text.isprintable():
        assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "displayed"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("a\nb", r"a\nb"),
    ],
)
def test_terminal_control_sequences_are_escaped(text: str, displayed: str) -> None:
    assert printable(text) == displayed


def test_line_feeds_can_be_kept() -> None:
    assert printable("a\n\x1b", keep="\n") == "a\n\\x1b"


@pytest.mark.slow
@given(
    st.lists(st.text(max_size=20) | st.dictionaries(st.text(), st.text(), max_size=3), max_size=3) | st.just("\udcff")
)
def test_printable_json_has_the_same_value(value: object) -> None:
    document = printable_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert document.replace("\n", "").isprintable()
    assert json.loads(document) == value
