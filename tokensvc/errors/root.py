"""What every failure is: a stable code, a message that is safe to show, and a detail for operators alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from tokensvc.errors.remedies import NONE, Remedy


class FieldError(NamedTuple):
    """One bad field: where it is, as the caller wrote it, and the rule it breaks."""

    field: str
    rule: str
    alternative: str = ""
    """Another field that can be given instead."""
    excluded_by: str = ""
    """Another field that was given, and goes without this one."""

    @property
    def message(self) -> str:
        """The rule in words, with the other field that it is about."""
        alternative = f", or {self.alternative}" if self.alternative else ""
        excluded_by = f" when {self.excluded_by} is given" if self.excluded_by else ""
        return f"{self.rule}{alternative}{excluded_by}"


class TokensvcError(Exception):
    """Anything this service refuses or fails at, in its own words."""

    code: ClassVar[str] = "error"
    retry_after_seconds: ClassVar[int | None] = None
    """After how long the same request may succeed, where that is known."""

    def __init__(
        self, message: str, *, detail: str = "", subject: Mapping[str, str] = NONE, remedy: Remedy | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.subject = subject
        """What the failure is about, by the kind of thing: `key_id`, `region`, `path`, …"""
        self.remedy = remedy
        """What ends the failure, for operators. None where whoever catches it knows better."""

    @property
    def for_operators(self) -> str:
        """Message and detail, for the log, the command line and `doctor`; never for a caller."""
        return f"{self.message}: {self.detail}" if self.detail else self.message
