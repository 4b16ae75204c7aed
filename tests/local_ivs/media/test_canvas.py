"""Rectangles and strokes are drawn where they should be."""

from __future__ import annotations

import pytest

from tokensvc.local_ivs.media.canvas import Canvas, Colour, rgb
from tokensvc.local_ivs.media.glyphs import Line

BLACK, WHITE = Colour(16, 128, 128), Colour(235, 128, 128)
RED = rgb(0xFF0000)


def luma(canvas: Canvas, x: int, y: int) -> int:
    return canvas.planes[0][y * canvas.width + x]


def canvas() -> Canvas:
    """A canvas whose pixels are twice as large as the units of the design."""
    return Canvas(960, 540, BLACK)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [(0x000000, BLACK), (0xFFFFFF, WHITE), (0xFF0000, Colour(63, 102, 240)), (0x0000FF, Colour(32, 240, 118))],
)
def test_colours_are_bt_709_in_limited_range(colour: int, expected: Colour) -> None:
    assert rgb(colour) == expected


def test_a_rectangle_fills_its_pixels_in_all_planes_and_no_others() -> None:
    drawn = canvas()
    drawn.fill(200, 100, 400, 80, RED)
    assert drawn.planes[0].count(RED.y) == 200 * 40
    assert drawn.planes[1].count(RED.u) == drawn.planes[2].count(RED.v) == 100 * 20
    assert luma(drawn, 100, 50) == luma(drawn, 299, 89) == RED.y
    assert luma(drawn, 99, 50) == luma(drawn, 100, 49) == luma(drawn, 300, 89) == luma(drawn, 299, 90) == BLACK.y


def test_what_is_outside_of_the_picture_is_left_out() -> None:
    drawn = canvas()
    drawn.fill(-100, -100, 5000, 5000, RED)
    assert set(drawn.planes[0]) == {RED.y}
    assert len(drawn.planes[0]) == 960 * 540


def test_a_stroke_has_its_thickness_round_ends_and_soft_edges() -> None:
    drawn = canvas()
    drawn.stamp(drawn.mask([Line(400, 400, 800, 400)], 40), WHITE, BLACK)
    assert luma(drawn, 300, 200) == WHITE.y
    assert luma(drawn, 300, 192) == luma(drawn, 300, 207) == WHITE.y
    assert luma(drawn, 300, 187) == luma(drawn, 300, 212) == BLACK.y
    assert luma(drawn, 192, 200) == WHITE.y
    assert luma(drawn, 191, 191) == BLACK.y  # in the corner that a square end would have
    assert any(BLACK.y < level < WHITE.y for level in drawn.planes[0])


def test_a_slanted_stroke_covers_both_ends_and_its_middle() -> None:
    drawn = canvas()
    drawn.stamp(drawn.mask([Line(400, 300, 800, 500)], 20), WHITE, BLACK)
    assert luma(drawn, 200, 150) == luma(drawn, 300, 200) == luma(drawn, 399, 249) == WHITE.y
    assert luma(drawn, 200, 249) == luma(drawn, 399, 150) == BLACK.y


def test_a_stamp_in_the_colour_of_the_paper_removes_a_drawing() -> None:
    drawn = canvas()
    mask = drawn.mask([Line(400, 300, 800, 500)], 20)
    drawn.stamp(mask, RED, BLACK)
    drawn.stamp(mask, BLACK, BLACK)
    assert drawn.planes == canvas().planes


def test_a_band_restores_its_lines() -> None:
    drawn = canvas()
    drawn.fill(0, 100, 500, 100, RED)
    before = [bytes(plane) for plane in drawn.planes]
    band = drawn.band(80, 220)
    drawn.fill(300, 80, 600, 140, WHITE)
    drawn.restore(band)
    assert [bytes(plane) for plane in drawn.planes] == before
