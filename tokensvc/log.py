"""structlog, loaded without rich, and how an exception is described in a log line.

Rules of the file
- Where rich is installed, structlog loads it for tracebacks in colours, and offers no way to decline. No line of ours
  has any, and each worker would pay for it at its start. So structlog is always imported from here. Measured (CPU time
  of the imports of `serve`, median of 15, CPython 3.11): 616 ms without rich, 654 ms with its 66 modules, so 6 %.
- What is None in `sys.modules` cannot be imported (The Python Language Reference, 5.3.1). rich is hidden only while
  structlog is loaded: the commands use it.
- An exception is described by types and frames. Its message is left out: it may quote the input that caused it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from typing import Any

_modules: dict[str, Any] = sys.modules
_rich = _modules.get("rich")
_modules["rich"] = None
try:
    import structlog
finally:
    _modules["rich"] = _rich
    if _rich is None:
        del _modules["rich"]

__all__ = ["exception_fields", "structlog"]

_FRAMES_MAX = 8
_CAUSES_MAX = 5


def exception_fields(problem: BaseException) -> dict[str, Any]:
    """The fields of a log line that describe an exception: its type, its last frames, the types of what caused it."""
    frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(problem.__traceback__)]
    fields: dict[str, Any] = {"problem": type(problem).__name__, "frames": frames[-_FRAMES_MAX:]}
    seen = {id(problem)}
    if causes := [type(cause).__name__ for cause in _causes(problem, seen)][:_CAUSES_MAX]:
        fields["causes"] = causes
    return fields


def _causes(problem: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """What it was raised from or while handling, and the members of a group; each once, since they may be a ring."""
    inner = list(problem.exceptions) if isinstance(problem, BaseExceptionGroup) else []
    before = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
    for cause in [*inner, *([before] if before else [])]:
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            yield from _causes(cause, seen)
