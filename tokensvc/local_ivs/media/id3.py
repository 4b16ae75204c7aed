"""Timed metadata as an ID3 tag, the form in which HLS carries it.

Invariants
- Sources: ID3v2.4.0 structure and frames (id3.org); Apple, "Timed Metadata for HTTP Live Streaming".
- INFERRED: The metadata of a PutMetadata is the value of one TXXX frame in UTF-8, whose description is empty. IVS says
  that its players deliver the text, and not which frame carries it.
"""

from __future__ import annotations

_VERSION = b"\x04\x00"
_NO_FLAGS = 0
_UTF_8 = b"\x03"
_TERMINATOR = b"\x00"
DESCRIPTION = ""


def text_tag(text: str) -> bytes:
    """An ID3v2.4 tag with one TXXX frame that holds the text."""
    content = _UTF_8 + DESCRIPTION.encode() + _TERMINATOR + text.encode()
    frame = b"TXXX" + _synchsafe(len(content)) + b"\x00\x00" + content
    return b"ID3" + _VERSION + bytes([_NO_FLAGS]) + _synchsafe(len(frame)) + frame


def _synchsafe(number: int) -> bytes:
    """A size: four bytes of which only the lower seven bits count (ID3v2.4.0 structure, section 6.2)."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
