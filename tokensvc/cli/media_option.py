"""The option of `demo` and `ivs serve` that chooses what the edge plays."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokensvc.cli.output import print_progress

if TYPE_CHECKING:  # loading it takes longer than `--help` may
    from tokensvc.local_ivs.media.loop import MediaLibrary

DEFAULT_MEDIA = "loop"
Media = Annotated[
    str,
    typer.Option(
        "--media",
        metavar="loop|picture|FILE",
        help="What the edge plays: a ready-made loop, a test picture or a video file. The last two need"
        " tokensvc[media], and are stored beside the database.",
    ),
]


def media_library(choice: str, cache: Path) -> MediaLibrary:
    """What the edge plays. Making it takes seconds, and prints progress. Raises SettingsError."""
    from tokensvc.local_ivs.media.library import open_media

    printed, lock = 0, threading.Lock()

    def print_share(done: float) -> None:
        """Print each quarter once; called from several threads."""
        nonlocal printed
        with lock:
            quarter = int(done * 4)
            if quarter > printed:
                printed = quarter
                print_progress(f"Preparing what the edge plays: {quarter * 25} %")

    return open_media(choice, cache, print_share)
