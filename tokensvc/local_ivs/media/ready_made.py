"""The ready-made loop: colour bars of 2 seconds, in the package, which needs no `av` to be played.

Invariants
- It has one rendition, 480p30, with H.264 (Main profile) and AAC (LC).
"""

from __future__ import annotations

from importlib.resources import files

from tokensvc.local_ivs.media.loop import MediaLoop, Rendition

LOOP_FILE = "ready_made_loop.ts"
SLATE_FILE = "ready_made_slate.ts"
MEDIA_ID = "ready-made"

RENDITION = Rendition(852, 480, 30, 210_000, "avc1.4D401F,mp4a.40.2")


class ReadyMadeLoop:
    """The loop in the package."""

    media_id = MEDIA_ID
    renditions = (RENDITION,)
    segments = 1

    def __init__(self) -> None:
        folder = files("tokensvc.local_ivs.media")
        self._loop = (folder / LOOP_FILE).read_bytes()
        self._slate = (folder / SLATE_FILE).read_bytes()

    def segment(self, rendition: str, position: int) -> bytes:
        _check(rendition)
        if position != 0:
            raise IndexError(position)
        return self._loop

    def slate(self, rendition: str) -> bytes:
        _check(rendition)
        return self._slate


def _check(rendition: str) -> None:
    if rendition != RENDITION.name:
        raise KeyError(rendition)


class ReadyMadeLibrary:
    """Every channel plays the ready-made loop."""

    def __init__(self) -> None:
        self._loop = ReadyMadeLoop()

    def loop_for(self, channel_arn: str, channel_name: str) -> MediaLoop:  # noqa: ARG002 - the same for every channel
        return self._loop

    def loop(self, media_id: str) -> MediaLoop | None:
        return self._loop if media_id == MEDIA_ID else None
