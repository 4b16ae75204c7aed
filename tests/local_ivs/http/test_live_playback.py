"""ffprobe, a player that is not ours, reads a live stream over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.local_ivs.environment import HERE
from tests.support.servers import serving
from tokensvc.aws.arn import parse_arn
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsComponents, LocalIvsSettings, build
from tokensvc.local_ivs.storage import SqliteResourceStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed: make system-packages"),
]
PACKETS = 700
"""More than the segments of one playlist have: ffprobe must load the playlist again."""


class LiveStream(NamedTuple):
    """A public channel that is live."""

    components: LocalIvsComponents
    arn: str
    playback_url: str

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.components.ivs.call(HERE, operation, {"channelArn": self.arn, **request}, "")

    def probe(self, packets: int = PACKETS) -> dict[str, Any]:
        """Streams and packets, as ffprobe reads them from the live edge until it fails or has that many packets."""
        options = ["-v", "error", "-read_intervals", f"%+#{packets}", "-show_streams", "-show_packets", "-show_data"]
        command = ["ffprobe", *options, "-of", "json", self.playback_url]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def live(resources: SqliteResourceStore) -> Iterator[LiveStream]:
    components = build(resources, LocalIvsSettings(), AdvanceableClock(SystemClock()))
    arn = components.ivs.call(HERE, "CreateChannel", {"authorized": False}, "")["channel"]["arn"]
    components.streams.start(arn)
    with serving(components.site) as url:
        yield LiveStream(components, arn, url + parse_arn(arn).playback_path)


def test_a_player_reads_video_audio_and_metadata_in_order(live: LiveStream) -> None:
    def put_metadata() -> None:
        for number in range(6):
            time.sleep(0.5)
            live.call("PutMetadata", metadata=f"cue-{number}")

    sender = threading.Thread(target=put_metadata)
    sender.start()
    found = live.probe()
    sender.join()
    codecs = {stream["codec_type"]: stream["codec_name"] for stream in found["streams"]}
    assert codecs == {"video": "h264", "audio": "aac", "data": "timed_id3"}
    kinds = [packet["codec_type"] for packet in found["packets"]]
    assert kinds.count("video") > 150
    assert kinds.count("audio") > 200
    cues = ["".join(_text(packet["data"])) for packet in found["packets"] if packet["codec_type"] == "data"]
    numbers = [int(cue[cue.index("cue-") + 4 :]) for cue in cues]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) >= 2
    assert live.call("GetStream")["stream"]["viewerCount"] == 1


def test_a_player_gets_no_more_once_the_stream_has_ended(live: LiveStream) -> None:
    stopper = threading.Timer(2, live.components.streams.stop, [live.arn])
    stopper.start()
    found = live.probe(packets=100_000)  # that many would take twenty minutes
    stopper.join()
    assert len(found.get("packets", ())) < 2 * PACKETS


def _text(dump: str) -> Iterator[str]:
    """The printable characters of ffprobe's hexadecimal dump."""
    for line in dump.strip().splitlines():
        digits = line.split(": ", 1)[1].split("  ")[0].replace(" ", "")
        yield from (chr(byte) for byte in bytes.fromhex(digits) if 32 <= byte < 127)
