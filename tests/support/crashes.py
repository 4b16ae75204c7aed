"""Crashes at any step: counts a use case's calls to its dependencies and triggers an action at a chosen call.

Invariants
- A crash is no `Exception`, so nothing catches it, as nothing catches SIGKILL.
- The action may also be a failure, or whatever others do while this process is suspended.
- It happens before the call's effect, or after the effect and before the result is returned.
- Only effects outlive a process: a crash after one call equals the crash before the next call, and a crash at a call
  without effects equals the one at the next call with effects. So calls that only read need not be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The process has died."""


def crash() -> None:
    """Kill the process."""
    raise Crash


class CrashPoint:
    """Counts calls, and triggers an action at one of them; by default a crash."""

    def __init__(
        self,
        at: int | None = None,
        *,
        after: bool = False,
        callback: Callable[[], None] = crash,
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = 0
        self._at = at
        self._after = after
        self._action = callback
        self._after_each = after_each
        """Called after the effect of each call."""

    def wrap(self, target: Any, *, reads: frozenset[str] = frozenset()) -> Any:
        """The same object with every method call counted, except those that only read."""
        return _Counted(self, target, reads)

    def wrap_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with every call counted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if number == self._at and not self._after:
                self._action()
            response = function(*args, **kwargs)
            self._after_each()
            if number == self._at and self._after:
                self._action()
            return response

        return call


class _Counted:
    def __init__(self, crash_point: CrashPoint, target: Any, reads: frozenset[str]) -> None:
        self._wire = crash_point
        self._target = target
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        counted = self._wire.wrap_function(method)

        def call(*args: Any, **kwargs: Any) -> Any:
            operation = args[1] if name == "call" else name  # for IVS, the name of an API operation
            return (method if operation in self._reads else counted)(*args, **kwargs)

        return call


class Before:
    """An object that runs an action before the first call of one of its methods."""

    def __init__(self, target: Any, method: str, callback: Callable[[], None]) -> None:
        self._target = target
        self._method = method
        self._action = [callback]

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._action:
            self._action.pop()()
        return getattr(self._target, name)
