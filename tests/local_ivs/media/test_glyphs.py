"""Every channel name can be written."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from tokensvc.local_ivs.media.glyphs import CAP_HEIGHT, DESCENT, advance, text_lines, text_width

NAME_CHARS = string.ascii_letters + string.digits + "-_"
"""Those that IVS allows in the name of a channel."""


def test_every_character_of_a_name_has_a_glyph_of_its_own() -> None:
    glyphs = {char: tuple(text_lines(char, 0, 0, CAP_HEIGHT)) for char in NAME_CHARS + ":.?"}
    assert len(set(glyphs.values())) == len(glyphs)


def test_an_unknown_character_is_shown_as_a_question_mark() -> None:
    assert text_lines("é", 0, 0, CAP_HEIGHT) == text_lines("?", 0, 0, CAP_HEIGHT)


def test_digits_have_one_width_so_that_a_running_number_does_not_move() -> None:
    assert len({advance(digit, CAP_HEIGHT) for digit in string.digits}) == 1


@given(st.text(NAME_CHARS, min_size=1, max_size=128), st.floats(10, 300))
def test_a_text_stays_in_its_width_and_between_its_lines(text: str, cap_height: float) -> None:
    unit = cap_height / CAP_HEIGHT
    width = text_width(text, cap_height)
    for line in text_lines(text, 100, 50, cap_height):
        for x, y in ((line.x0, line.y0), (line.x1, line.y1)):
            assert 100 - unit <= x <= 100 + width + unit
            assert 50 - unit <= y <= 50 + cap_height + DESCENT * unit + 1e-6
