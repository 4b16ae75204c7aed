"""Timed metadata is a well-formed ID3 tag."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokensvc.local_ivs.media.id3 import text_tag

TAG_HEADER_BYTES, FRAME_HEADER_BYTES = 10, 10


def size_of(coded: bytes) -> int:
    assert all(byte < 0x80 for byte in coded)
    return sum(byte << 7 * place for place, byte in enumerate(reversed(coded)))


@given(st.text(min_size=1, max_size=1024))
def test_the_text_is_the_value_of_one_frame_whose_sizes_are_right(text: str) -> None:
    tag = text_tag(text)
    assert tag[:6] == b"ID3\x04\x00\x00"
    assert size_of(tag[6:10]) == len(tag) - TAG_HEADER_BYTES
    frame = tag[TAG_HEADER_BYTES:]
    assert frame[:4] == b"TXXX"
    assert size_of(frame[4:8]) == len(frame) - FRAME_HEADER_BYTES
    assert frame[8:FRAME_HEADER_BYTES] == b"\x00\x00"
    encoding, description, value = frame[10:11], *frame[11:].split(b"\x00", 1)
    assert (encoding, description, value.decode()) == (b"\x03", b"", text)
