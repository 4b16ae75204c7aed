"""What goes into a judgement of a playback token, and what comes out of it.

Rules of the file
- None in an attempt stands for what the judge cannot know; it never means "none".
- A message says what a rule found without repeating the token, a key or a viewer id.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.jose.keypair import PublicKey

NOTHING_REVOKED = -(2**63) - 1
"""Below every session version (a signed integer of 64 bits), so that no comparison needs another case."""


class Result(StrEnum):
    """What one rule says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Which of several ways a rule failed in. Error texts and programs depend on these, never on the message."""

    USUAL = ""
    """What the rule's name says, as for a rule that fails in one way only."""
    EMPTY = "empty"
    MISSING = "missing"
    MALFORMED = "malformed"
    """A claim of another type or form than documented."""
    MILLISECONDS = "milliseconds"
    UNSIGNED = "unsigned"


class Outcome(StrEnum):
    """What all rules say together."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    CONDITIONAL = "conditional"
    """Admitted unless `Verdict.unless`, which only IVS knows."""
    UNDECIDED = "undecided"
    """A rule needs a fact that was not supplied: a public key, or the player's Origin header."""


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
    reason: Reason = Reason.USUAL


class Verdict(NamedTuple):
    """The outcome, the rule that refused, and every finding in the table's order."""

    outcome: Outcome
    refused_by: str | None
    message: str
    findings: tuple[Finding, ...]
    claims: dict[str, Any]
    """The payload, as far as it could be read; trust it only when the outcome is ADMITTED."""
    unless: tuple[str, ...] = ()
    """With CONDITIONAL: the conditions, as a sentence has them after "unless"."""

    @property
    def refusal(self) -> Finding | None:
        """The finding that refused: the first failed one."""
        return next((finding for finding in self.findings if finding.result is Result.FAIL), None)
