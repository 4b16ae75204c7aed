"""MPEG transport streams: timed metadata in a segment that is already made.

Invariants
- Sources: ISO/IEC 13818-1 (packets in 2.4.3, PES in 2.4.3.6, PSI in 2.4.4, descriptors in 2.6); Apple, "Timed Metadata
  for HTTP Live Streaming" (stream type 0x15, the two descriptors, one ID3 tag per PES packet).
- A segment comes from FFmpeg's muxer, and each section of PAT and PMT in it fits in one packet.
- All packets but those of the PMT and of the metadata stay as they are, in their order.
- The first metadata packet of a segment has the discontinuity indicator, since the continuity counter of its PID begins
  anew in each segment (2.4.3.5).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from tokensvc.local_ivs.media.id3 import text_tag

PACKET_BYTES = 188
_HEADER_BYTES = 4
_SYNC_BYTE = 0x47
_PAT_PID = 0
_SDT_PID = 0x11
_UNIT_START = 0x40
_WITH_PAYLOAD = 0x10
_WITH_ADAPTATION_FIELD = 0x20
_DISCONTINUITY = 0x80

_PROGRAM_MAP = 0x02
_H264 = 0x1B
_AAC = 0x0F
_AAC_LC = "mp4a.40.2"
_SEQUENCE_PARAMETERS = re.compile(rb"\x00\x00\x01[\x27\x47\x67](...)", re.DOTALL)
"""H.264's sequence parameter set, which begins with profile, constraints and level."""
_METADATA = 0x15
_METADATA_PID = 0x1F0
_SECTION_HEADER_BYTES = 12
"""Of a PMT: from its table id to its program_info_length."""
_CRC_BYTES = 4

_PRIVATE_STREAM_1 = 0xBD
_PES_HEADER_BYTES = 14
_ALIGNED, _WITH_PTS = 0x84, 0x80
_PTS_MODULUS = 1 << 33
TICKS_PER_SECOND = 90_000

_FORMAT = b"\xff\xffID3 \xffID3 \x00"
"""metadata_application_format and its identifier, metadata_format and its identifier, metadata_service_id."""


class TimedMetadata(NamedTuple):
    """A text and when it applies, in seconds from the beginning of the segment."""

    offset_seconds: float
    text: str


def cleaned_segment(segment: bytes) -> bytes:
    """A segment of FFmpeg's muxer as a player should get it, with a stream of timed metadata declared in its PMT.

    The SDT, which names the service, is left out: PAT and PMT should be the first packets (RFC 8216 section 3.2).
    """
    pmt_pid = _pmt_pid(segment)
    packets = (packet for packet in _packets(segment) if _pid(packet) != _SDT_PID)
    return b"".join(_with_metadata_stream(packet) if _pid(packet) == pmt_pid else packet for packet in packets)


def with_metadata(segment: bytes, items: Sequence[TimedMetadata]) -> bytes:
    """The segment with these items, sorted by their time, as PES packets of the stream that its PMT declares.

    An item's packets stand before the first picture that is decoded after it.
    """
    if not items:
        return segment
    pids = dict(_streams(_pmt(segment)))
    metadata_pid, video_pid = pids[_METADATA], pids[_H264]
    pending = deque(sorted(items, key=lambda item: item.offset_seconds))
    output: list[bytes] = []
    numbers = count()
    beginning = None
    for packet in _packets(segment):
        if _pid(packet) == video_pid and packet[1] & _UNIT_START:
            pts, dts = _timestamps(_payload(packet))
            beginning = pts if beginning is None else beginning
            while pending and _ticks(pending[0]) <= _signed(dts - beginning):
                output += _transport_packets(metadata_pid, numbers, _pes(pending.popleft(), beginning))
        output.append(packet)
    for item in pending:
        output += _transport_packets(metadata_pid, numbers, _pes(item, beginning or 0))
    return b"".join(output)


def mark_discontinuity(segment: bytes) -> bytes:
    """The segment as it follows another that it does not continue.

    The first packet of each PID has the discontinuity indicator, after which a continuity counter, and the clock, may
    begin anew (2.4.3.5). Metadata packets have it already.
    """
    pmt_pid = _pmt_pid(segment)
    streams = {pid for stream_type, pid in _streams(_pmt(segment)) if stream_type != _METADATA}
    tables = {_PAT_PID, pmt_pid}
    remaining = streams | tables
    marked: list[bytes] = []
    position = 0
    while remaining and position < len(segment):
        packet = segment[position : position + PACKET_BYTES]
        position += PACKET_BYTES
        if (pid := _pid(packet)) in remaining:
            remaining.remove(pid)
            marked += _marked_table(packet) if pid in tables else _marked_packets(packet)
        else:
            marked.append(packet)
    return b"".join(marked) + segment[position:]


def codecs(segment: bytes) -> str:
    """The codecs of a segment with H.264 and perhaps AAC (LC), as a playlist names them (RFC 6381)."""
    parameters = _SEQUENCE_PARAMETERS.search(segment)
    video = f"avc1.{parameters[1].hex().upper()}" if parameters else "avc1"
    return f"{video},{_AAC_LC}" if _AAC in dict(_streams(_pmt(segment))) else video


def _packets(segment: bytes) -> Iterator[bytes]:
    return (segment[start : start + PACKET_BYTES] for start in range(0, len(segment), PACKET_BYTES))


def _pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _payload(packet: bytes) -> bytes:
    if packet[3] & _WITH_ADAPTATION_FIELD:
        return packet[_HEADER_BYTES + 1 + packet[_HEADER_BYTES] :]
    return packet[_HEADER_BYTES:]


def _section(packet: bytes) -> bytes:
    """The PSI section that begins in the packet, with its CRC."""
    payload = _payload(packet)
    start = 1 + payload[0]
    length = 3 + int.from_bytes(payload[start + 1 : start + 3]) % 0x1000
    return payload[start : start + length]


def _pmt_pid(segment: bytes) -> int:
    section = _section(next(packet for packet in _packets(segment) if _pid(packet) == _PAT_PID))
    return int.from_bytes(section[10:12]) % 0x2000


def _pmt(segment: bytes) -> bytes:
    pid = _pmt_pid(segment)
    return _section(next(packet for packet in _packets(segment) if _pid(packet) == pid))


def _program_info_bytes(section: bytes) -> int:
    return int.from_bytes(section[10:12]) % 0x1000


def _streams(section: bytes) -> Iterator[tuple[int, int]]:
    """(stream type, PID) of each elementary stream of a PMT."""
    position = _SECTION_HEADER_BYTES + _program_info_bytes(section)
    while position < len(section) - _CRC_BYTES:
        yield section[position], int.from_bytes(section[position + 1 : position + 3]) % 0x2000
        position += 5 + int.from_bytes(section[position + 3 : position + 5]) % 0x1000


def _marked_table(packet: bytes) -> tuple[bytes]:
    """The packet of a PAT or PMT with the discontinuity indicator, which takes the place of two bytes of stuffing."""
    flags = packet[3] | _WITH_ADAPTATION_FIELD
    return (packet[:3] + bytes([flags, 1, _DISCONTINUITY]) + packet[_HEADER_BYTES:-2],)


def _marked_packets(packet: bytes) -> tuple[bytes, ...]:
    """The packet of a stream with the discontinuity indicator.

    If it has no room for that, it is preceded by one without payload, whose counter is one less.
    """
    if packet[3] & _WITH_ADAPTATION_FIELD and packet[_HEADER_BYTES]:
        flags = _HEADER_BYTES + 1
        return (packet[:flags] + bytes([packet[flags] | _DISCONTINUITY]) + packet[flags + 1 :],)
    start = packet[1] & ~_UNIT_START
    counter = _WITH_ADAPTATION_FIELD | (packet[3] - 1) & 0xF
    field = _adaptation_field(PACKET_BYTES - _HEADER_BYTES, _DISCONTINUITY)
    return bytes([_SYNC_BYTE, start, packet[2], counter]) + field, packet


def _with_metadata_stream(packet: bytes) -> bytes:
    """The packet of a PMT, with the metadata stream and its two descriptors (2.6.58, 2.6.60)."""
    section = _section(packet)
    program = section[3:5]
    pointer = bytes([0x25, len(_FORMAT) + 3]) + _FORMAT + b"\x1f" + program
    descriptor = bytes([0x26, len(_FORMAT) + 1]) + _FORMAT + b"\x0f"
    stream = (
        bytes([_METADATA]) + (0xE000 | _METADATA_PID).to_bytes(2) + (0xF000 | len(descriptor)).to_bytes(2) + descriptor
    )
    info_end = _SECTION_HEADER_BYTES + _program_info_bytes(section)
    info = section[_SECTION_HEADER_BYTES:info_end] + pointer
    rest = section[3:10] + (0xF000 | len(info)).to_bytes(2) + info + section[info_end:-_CRC_BYTES] + stream
    start = bytes([_PROGRAM_MAP]) + (0xB000 | len(rest) + _CRC_BYTES).to_bytes(2) + rest
    payload = b"\x00" + start + crc32(start).to_bytes(4)
    header = packet[:3] + bytes([packet[3] & ~_WITH_ADAPTATION_FIELD])
    return (header + payload).ljust(PACKET_BYTES, b"\xff")


def crc32(data: bytes) -> int:
    """The CRC of a PSI section: CRC-32/MPEG-2 (annex A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x104C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _timestamps(pes: bytes) -> tuple[int, int]:
    """PTS and DTS of a PES packet; the DTS is the PTS if it has none."""
    pts = _timestamp(pes[9:14])
    return pts, _timestamp(pes[14:19]) if pes[7] & 0x40 else pts


def _timestamp(coded: bytes) -> int:
    return (coded[0] >> 1 & 7) << 30 | (int.from_bytes(coded[1:3]) >> 1) << 15 | int.from_bytes(coded[3:5]) >> 1


def _ticks(item: TimedMetadata) -> int:
    return round(item.offset_seconds * TICKS_PER_SECOND)


def _signed(ticks: int) -> int:
    """A difference of two timestamps, which have 33 bits and wrap."""
    return (ticks + _PTS_MODULUS // 2) % _PTS_MODULUS - _PTS_MODULUS // 2


def _pes(item: TimedMetadata, beginning: int) -> bytes:
    """A PES packet with one tag, in a segment whose first picture has this PTS."""
    pts = (beginning + _ticks(item)) % _PTS_MODULUS
    tag = text_tag(item.text)
    length = _PES_HEADER_BYTES - 6 + len(tag)
    coded_pts = bytes(
        [
            0x21 | pts >> 29 & 0x0E,
            pts >> 22 & 0xFF,
            pts >> 14 & 0xFE | 1,
            pts >> 7 & 0xFF,
            pts << 1 & 0xFE | 1,
        ]
    )
    start = b"\x00\x00\x01" + bytes([_PRIVATE_STREAM_1]) + length.to_bytes(2)
    return start + bytes([_ALIGNED, _WITH_PTS, len(coded_pts)]) + coded_pts + tag


def _transport_packets(pid: int, numbers: Iterator[int], pes: bytes) -> Iterator[bytes]:
    """A PES packet in transport packets. `numbers` counts those of the PID in the segment, from 0."""
    rest, start = pes, _UNIT_START
    while rest:
        number = next(numbers)
        indicator = _DISCONTINUITY if number == 0 else 0
        room = PACKET_BYTES - _HEADER_BYTES - (2 if indicator else 0)
        chunk, rest = rest[:room], rest[room:]
        field = _adaptation_field(PACKET_BYTES - _HEADER_BYTES - len(chunk), indicator)
        flags = _WITH_PAYLOAD | (_WITH_ADAPTATION_FIELD if field else 0)
        yield bytes([_SYNC_BYTE, start | pid >> 8, pid & 0xFF, flags | number & 0xF]) + field + chunk
        start = 0


def _adaptation_field(size: int, indicator: int) -> bytes:
    """An adaptation field that fills this many bytes of a packet. One of a single byte has no flags (2.4.3.5)."""
    if size <= 1:
        return b"\x00" * size
    return bytes([size - 1, indicator]).ljust(size, b"\xff")
