"""Garbage collector settings for serving processes."""

from __future__ import annotations

import gc

_YOUNG_OBJECTS = 20_000


def freeze_gc() -> None:
    """Make collections rarer and cheaper: objects loaded so far are permanent, and requests create no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
