"""Makes the files of the ready-made loop anew: `python -m tokensvc.local_ivs.media.make_ready_made [FOLDER]`.

By default they are written into the package. They are committed, so that playing them needs no PyAV.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokensvc.local_ivs.media.encoding import SMALL, Sound, encode
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.progress import no_progress
from tokensvc.local_ivs.media.ready_made import LOOP_FILE, RENDITION, SLATE_FILE
from tokensvc.local_ivs.media.test_card import ColourBars, Size, Slate

_NAME = "LOCAL IVS"


def make(folder: Path) -> None:
    size = Size(RENDITION.width, RENDITION.height)
    for file, painter, sound in ((LOOP_FILE, ColourBars, Sound.TONE), (SLATE_FILE, Slate, Sound.SILENCE)):
        [segment] = encode(
            painter(_NAME, RENDITION.name, size),
            size,
            SEGMENT_SECONDS,
            sound=sound,
            quality=SMALL,
            progress=no_progress,
        )
        (folder / file).write_bytes(segment)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
