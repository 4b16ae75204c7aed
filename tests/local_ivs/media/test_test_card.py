"""The pictures move, repeat, and fit any channel name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokensvc.local_ivs.media.test_card import FLASH_FRAMES, FRAME_RATE, ColourBars, Picture, Size, Slate, TestCard

pytestmark = pytest.mark.slow

SIZE = Size(426, 240)
Painter = Callable[[str, str, Size], Picture]


def levels(picture: Picture, number: int) -> tuple[bytes, ...]:
    return tuple(bytes(plane) for plane in picture.frame(number).planes)


@pytest.mark.parametrize(("painter", "seconds"), [(TestCard, 60), (ColourBars, 2), (Slate, 2)])
def test_a_picture_depends_on_its_number_alone_and_repeats(painter: Painter, seconds: int) -> None:
    picture = painter("channel", "LOCAL IVS", SIZE)
    numbers = [0, 1, 37, 59, 30, 0]
    first = [levels(picture, number) for number in numbers]
    assert first[0] == first[-1]
    assert len(set(first)) == len(set(numbers))
    assert [levels(picture, number + seconds * FRAME_RATE) for number in reversed(numbers)] == first[::-1]


def test_every_second_of_a_minute_has_its_own_picture() -> None:
    picture = TestCard("channel", "LOCAL IVS", SIZE)
    assert len({levels(picture, second * FRAME_RATE) for second in range(0, 60, 2)}) == 30


@pytest.mark.parametrize(("painter", "x", "y"), [(TestCard, 488, 548), (ColourBars, 960, 910)])
def test_the_spot_is_lit_at_the_beginning_of_each_second(painter: Painter, x: int, y: int) -> None:
    picture = painter("channel", "LOCAL IVS", SIZE)
    spot = y * SIZE.height // 1080 * SIZE.width + x * SIZE.width // 1920
    brightness = [levels(picture, FRAME_RATE + number)[0][spot] for number in range(FRAME_RATE)]
    assert min(brightness[:FLASH_FRAMES]) > max(brightness[FLASH_FRAMES:])


@pytest.mark.parametrize("painter", [TestCard, ColourBars, Slate])
@pytest.mark.parametrize("name", ["", "m" * 128, "i" * 128, "a-channel_of-mine", "Über"])
def test_every_name_fits(painter: Painter, name: str) -> None:
    canvas = painter(name, "LOCAL IVS  1080p30", SIZE).frame(0)
    assert [len(plane) for plane in canvas.planes] == [426 * 240, 213 * 120, 213 * 120]
