"""Explains whether a token can start playback: every rule in order, what it found and what to change.

One use case for the HTTP API and the command line.

Invariants
- The rules are those of `validation.py`; what is added are facts of this deployment (its public keys, denials and
  revocations) and, for each result, a remedy. Nothing is stored: a single-use token is not spent.
- A signature by none of the deployment's keys proves nothing: others may have imported key pairs into the same account
  and region. The result is then unknown, never a failure.
- A country concerns the channel's playback restriction policy, which only IVS knows: it is never guessed.
- No part of a token, and no viewer id, is in a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion, Arn, parse_arn
from tokensvc.jose.keypair import PublicKey
from tokensvc.tokens import claims as c
from tokensvc.tokens.denylist import ViewerRestriction
from tokensvc.tokens.playback_decision import revoked_version
from tokensvc.tokens.remedies import remedy_of
from tokensvc.tokens.validation import (
    Outcome,
    PlaybackAttempt,
    Reason,
    RuleResult,
    RuleStatus,
    ValidationResult,
    validate,
)

COUNTRY = "country"
"""The rule about the viewer's country: not one of the token's rules, so the table of these does not have it."""
_COUNTRY_CONDITION = "the channel's playback restriction policy excludes the country"


class KnownKey(NamedTuple):
    """A key of this deployment and its state in the account and region that apply."""

    key_id: str
    public: PublicKey
    state: str
    """The state there, such as `active`; "" if it was never imported there."""
    is_imported: bool
    """Whether IVS holds it there."""


class DeploymentFacts(NamedTuple):
    """What this deployment knows. The defaults are those of somebody who knows no deployment."""

    keys: Callable[[AccountRegion], Iterable[KnownKey] | None] = lambda _: None
    """All keys, with their state in this account and region; None where no deployment is known."""
    restriction: Callable[[str, str], ViewerRestriction | None] = lambda *_: None
    """What restricts a viewer (channel ARN, viewer id); None where this deployment does not know."""
    no_keys_message: str = "the public keys that IVS holds for the channel are not known here"
    not_ours_message: str = "not signed by a key of this deployment, and others may have imported key pairs, too"


class Explanation(NamedTuple):
    """The combined result, and that of every rule in the table's order."""

    validation: ValidationResult
    signed_by: str | None
    """The id of the key of this deployment that signed the token."""

    @property
    def reason(self) -> Reason:
        """The reason of the rule that denied playback."""
        failed = self.validation.failed_rule
        return failed.reason if failed else Reason.UNSPECIFIED

    @property
    def rules(self) -> list[tuple[RuleResult, str]]:
        """Each result, and what to change."""
        return [(result, remedy_of(result)) for result in self.validation.rule_results]


def claimed_channel(token: str) -> str | None:
    """The channel ARN that the token claims, whether it is signed or not; None if it claims none."""
    claimed = validate(PlaybackAttempt(token, 0)).claims.get(c.CHANNEL_ARN)
    return claimed if isinstance(claimed, str) and _is_channel(claimed) else None


def explain(
    attempt: PlaybackAttempt,
    facts: DeploymentFacts,
    country: str | None = None,
    keys: Sequence[PublicKey] | None = None,
) -> Explanation:
    """Explain one attempt. `keys`: all public keys that IVS holds for the channel, if they are known; the
    deployment's are not needed then."""
    claims = validate(attempt._replace(keys=None)).claims
    attempt = _with_restriction(attempt, claims, facts)
    if keys is not None:
        validation, signed_by = validate(attempt._replace(keys=keys)), None
    else:
        validation, signed_by = _with_own_keys(attempt._replace(keys=None), claims, facts)
    return Explanation(_with_country(validation, country), signed_by)


def _with_restriction(attempt: PlaybackAttempt, claims: dict[str, object], facts: DeploymentFacts) -> PlaybackAttempt:
    """The attempt with what restricts its viewer."""
    viewer, channel = claims.get(c.VIEWER_ID), str(attempt.channel or claims.get(c.CHANNEL_ARN))
    if not isinstance(viewer, str) or not _is_channel(channel):
        return attempt
    restriction = facts.restriction(channel, viewer)
    if restriction is None:
        return attempt
    return attempt._replace(revoked_version=revoked_version(restriction), denied_until=restriction.denied_until)


def _with_own_keys(
    attempt: PlaybackAttempt, claims: dict[str, object], facts: DeploymentFacts
) -> tuple[ValidationResult, str | None]:
    """Validate with the deployment's keys; returns the id of the key that signed the token, too."""
    validation = validate(attempt)
    if not any(r.rule == "signature" and r.status is RuleStatus.UNKNOWN for r in validation.rule_results):
        return validation, None
    account_region = _account_region(attempt, claims)
    known = None if account_region is None else facts.keys(account_region)
    if account_region is None or known is None:
        return _with_signature_message(validation, facts.no_keys_message), None
    for key in known:
        verified = validate(attempt._replace(keys=[key.public]))
        if not any(r.rule == "signature" and r.status is RuleStatus.PASS for r in verified.rule_results):
            continue
        region, signed = account_region.region, f"signed by key {key.key_id} of this deployment"
        if not key.state:
            message = f"{signed}, which was never imported in {region} of account {account_region.account}"
            return _with_signature_message(validation, message), key.key_id
        if not key.is_imported:
            message = f"{signed}, which is no longer in IVS in {region}"
            return _with_signature_message(validate(attempt._replace(keys=[])), message), key.key_id
        return _with_signature_message(verified, f"{signed}, {key.state} in {region}"), key.key_id
    return _with_signature_message(validation, facts.not_ours_message), None


def _account_region(attempt: PlaybackAttempt, claims: dict[str, object]) -> AccountRegion | None:
    """The account and region whose keys apply: those of the channel to be played, else of the channel claimed."""
    if attempt.channel is not None:
        return attempt.channel.account_region
    claimed = str(claims.get(c.CHANNEL_ARN))
    return parse_arn(claimed, "channel").account_region if _is_channel(claimed) else None


def _with_signature_message(validation: ValidationResult, message: str) -> ValidationResult:
    """The same result with another message for the signature rule."""
    (previous,) = (r.message for r in validation.rule_results if r.rule == "signature")
    results = tuple(r._replace(message=message) if r.rule == "signature" else r for r in validation.rule_results)
    summary = message if validation.message == previous else validation.message
    return validation._replace(rule_results=results, message=summary)


def _with_country(validation: ValidationResult, country: str | None) -> ValidationResult:
    """The same result with the rule about the country, which only IVS can decide."""
    if country is None:
        rule = RuleResult(COUNTRY, RuleStatus.NOT_APPLICABLE, "")
        return validation._replace(rule_results=(*validation.rule_results, rule))
    text = "only IVS knows whether the channel's playback restriction policy allows the country"
    rule = RuleResult(COUNTRY, RuleStatus.UNKNOWN, text)
    validation = validation._replace(rule_results=(*validation.rule_results, rule))
    if validation.outcome not in (Outcome.ALLOW, Outcome.CONDITIONAL):
        return validation
    unless = (*validation.unless, _COUNTRY_CONDITION)
    message = f"allowed unless {' or '.join(unless)}"
    return validation._replace(outcome=Outcome.CONDITIONAL, message=message, unless=unless)


def _is_channel(text: str) -> bool:
    try:
        parse_arn(text, "channel")
    except ValueError:
        return False
    return True


def channel_or_none(text: str | None) -> Arn | None:
    """A checked channel ARN, parsed."""
    return parse_arn(text, "channel") if text else None
