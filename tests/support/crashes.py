"""Crashes at any step: everything that a use case asks of the world is counted, and at one question something happens.

Rules of the file
- A crash is no `Exception`: nothing on the way may catch it, as nothing catches SIGKILL.
- Instead of a crash there may be anything else: a failure, or all that others do while this process is frozen.
- It happens before the question's effect, or after it and before its answer is heard.
- A process leaves nothing behind but effects: a crash after one question is the crash before the next, and a crash at a
  question without an effect is the one at the next with one. So questions that only read may be left off the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The process is gone."""


def crash() -> None:
    """End the process."""
    raise Crash


class CrashPoint:
    """Counts questions, and does something at one of them: crashes, unless told otherwise."""

    def __init__(
        self,
        at: int | None = None,
        *,
        after: bool = False,
        does: Callable[[], None] = crash,
        each: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = 0
        self._at = at
        self._after = after
        self._does = does
        self._each = each
        """Called once each question has had its effect."""

    def around(self, target: Any, *, reads: frozenset[str] = frozenset()) -> Any:
        """The same object with every call of a method on the wire, but for those that only read."""
        return _Watched(self, target, reads)

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with every call on the wire."""

        def call(*args: Any, **kwargs: Any) -> Any:
            mine, self.count = self.count, self.count + 1
            if mine == self._at and not self._after:
                self._does()
            answer = function(*args, **kwargs)
            self._each()
            if mine == self._at and self._after:
                self._does()
            return answer

        return call


class _Watched:
    def __init__(self, wire: CrashPoint, target: Any, reads: frozenset[str]) -> None:
        self._wire = wire
        self._target = target
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        watched = self._wire.watched(method)

        def ask(*args: Any, **kwargs: Any) -> Any:
            question = args[1] if name == "call" else name  # IVS is asked by the name of an operation
            return (method if question in self._reads else watched)(*args, **kwargs)

        return ask


class Before:
    """An object that does something else before one of its methods is called for the first time."""

    def __init__(self, target: Any, method: str, does: Callable[[], None]) -> None:
        self._target = target
        self._method = method
        self._does = [does]

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._does:
            self._does.pop()()
        return getattr(self._target, name)
