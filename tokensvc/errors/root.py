"""What every failure is: a stable code, a message that is safe to show, and a detail for operators alone."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One bad field: where it is, as the caller wrote it, and the rule it breaks."""

    field: str
    message: str


class TokensvcError(Exception):
    """Anything this service refuses or fails at, in its own words."""

    code: ClassVar[str] = "error"
    retry_after_seconds: ClassVar[int | None] = None
    """After how long the same request may succeed, where that is known."""

    def __init__(self, message: str, *, detail: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.remedy = remedy
        """What ends the failure, for operators: a command for a shell, then perhaps three spaces and a note in
        parentheses. Empty where whoever catches it knows better."""

    @property
    def for_operators(self) -> str:
        """Message and detail, for the log, the command line and `doctor`; never for a caller."""
        return f"{self.message}: {self.detail}" if self.detail else self.message
