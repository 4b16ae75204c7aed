"""The line of a value in a TOML text."""

from __future__ import annotations

import pytest

from tokensvc.toml_positions import line_of

TEXT = """\
title = "a"

# a comment
connections = 5
[[stage]]
seconds = 1
rate = [
  0,
  5,
]

[[stage]]
seconds = 2
rate = 5
[inline]
point = { x = 1, y = 2 }
text = '''
x = 5
'''
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["title"], 1),
        (["connections"], 4),
        (["stage"], 5),
        (["stage", 0, "seconds"], 6),
        (["stage", 0, "rate"], 7),
        (["stage", 0, "rate", 1], 7),
        (["stage", 1], 12),
        (["stage", 1, "rate"], 14),
        (["inline", "point", "y"], 16),
        (["inline", "text"], 17),
    ],
    ids=str,
)
def test_the_line_of_a_value_is_where_it_starts(path: list[str | int], line: int) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [(["stage", 1, "weight"], 12), (["stage", 0, "rate", 7], 7), (["request"], 1), (["title", "more"], 1)],
    ids=str,
)
def test_the_line_of_a_missing_value_is_that_of_its_parent(path: list[str | int], line: int) -> None:
    assert line_of(TEXT, path) == line
