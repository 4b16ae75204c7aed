"""What goes into a judgement of a playback token, and what comes out of it.

Rules of the file
- None in an attempt stands for what the judge cannot know; it never means "none".
- A message says what a rule found without repeating the token, a key or a viewer id.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tokensvc.core.arn import Arn
from tokensvc.core.keypair import PublicKey

NOTHING_REVOKED = -(2**63) - 1
"""Below every session version (a signed integer of 64 bits), so that no comparison needs another case."""


class Result(StrEnum):
    """What one rule says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """What all rules say together."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    UNDECIDED = "undecided"


class Attempt(NamedTuple):
    """One try to start playback. None stands for what the judge cannot know."""

    token: str
    now: float
    channel: Arn | None = None
    """The channel whose playlist is asked for."""
    keys: Sequence[PublicKey] | None = None
    """The public halves that IVS holds in the channel's account and region."""
    origin: str | None = None
    """The `Origin` header; "" when none was sent."""
    spent: bool | None = None
    """Whether the token's single use was spent before."""
    revoked_version: int | None = None
    """The highest session version of the token's viewer that was revoked on the channel, or NOTHING_REVOKED."""


class Finding(NamedTuple):
    """What one rule found."""

    rule: str
    result: Result
    message: str


class Verdict(NamedTuple):
    """The outcome, the rule that refused, and every finding in the table's order."""

    outcome: Outcome
    refused_by: str | None
    message: str
    findings: tuple[Finding, ...]
    claims: dict[str, Any]
    """The payload, as far as it could be read; trust it only when the outcome is ADMITTED."""
