"""structlog, loaded without rich, and how an exception is described in a log line.

Invariants
- structlog is always imported from here. If rich is installed, structlog loads it for coloured tracebacks and has no
  option against that; the service never logs a coloured traceback, and each worker would pay for the import. Measured
  (CPU time of the imports of `serve`, median of 15, CPython 3.11): 616 ms without rich, 654 ms (6 % more) with its 66
  modules.
- A module that is None in `sys.modules` cannot be imported (The Python Language Reference, 5.3.1). rich is hidden only
  while structlog is loaded: the commands use it.
- An exception is described by types and frames. Its message is left out: it may quote the input that caused it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from typing import Any

from tokensvc import log_default

_modules: dict[str, Any] = sys.modules
_rich = _modules.get("rich")
_modules["rich"] = None
try:
    import structlog
finally:
    _modules["rich"] = _rich
    if _rich is None:
        del _modules["rich"]

if log_default.to_stderr:
    structlog.configure(
        # The stream is None if standard error was closed; a PrintLogger would take standard output then.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr) if sys.stderr else structlog.ReturnLogger()
    )

__all__ = ["exception_fields", "structlog"]

_FRAMES_MAX = 8
_CAUSES_MAX = 5


def exception_fields(error: BaseException) -> dict[str, Any]:
    """The fields of a log line that describe an exception: its type, its last frames, the types of its causes."""
    frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    fields: dict[str, Any] = {"error": type(error).__name__, "frames": frames[-_FRAMES_MAX:]}
    seen = {id(error)}
    if causes := [type(cause).__name__ for cause in _causes(error, seen)][:_CAUSES_MAX]:
        fields["causes"] = causes
    return fields


def _causes(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """The members of a group, and the exceptions that it was raised from or while handling. Each is yielded once: they
    may form a cycle."""
    members = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for cause in [*members, *([before] if before else [])]:
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            yield from _causes(cause, seen)
