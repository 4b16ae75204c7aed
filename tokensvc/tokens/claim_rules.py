"""The claims that a caller's policy forces or requires, and the viewer of a bearer token.

Invariants
- What the policy forces replaces what was requested, without an error. What it requires must be requested: a request
  for more, or without it, is rejected.
- A viewer app gets tokens for the viewer of its bearer token and for no other.
- All errors of a request are reported together, under the names of its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokensvc.callers.policy import NO_RULES, Caller, ClaimRules, ViewerLogin
from tokensvc.errors import ClaimRequired, FieldError, InvalidRequest
from tokensvc.origins import covers
from tokensvc.tokens.claims import MAXIMUM_RESOLUTIONS
from tokensvc.tokens.request import TokenRequest, combined_field_errors

_SHOWN_ORIGINS = 5
_COMBINED_FIELDS = frozenset(
    {"viewer_id", "subject", "single_use", "ttl_seconds", "strict_origin_enforcement", "allowed_origins"}
)
"""What the rules on two fields concern. A request was checked for them when it was parsed."""


def apply_claim_rules(caller: Caller, request: TokenRequest) -> TokenRequest:
    """The request with everything that policy forces, for the caller's viewer. Raises ClaimRequired if it lacks what
    policy requires, or asks for more; InvalidRequest for any other field that it must not have."""
    policy, login, errors = caller.policy, caller.login, list[FieldError]()
    forced = policy.forced_fields
    if login is not None:
        errors += _viewer_errors(login, request)
        forced = {**forced, "viewer_id": None, "subject": login.subject}
    effective = request.with_values(forced) if forced else request
    missing = [] if policy.required is NO_RULES else list(_required_errors(policy.required, effective))
    if not _COMBINED_FIELDS.isdisjoint(forced):
        named = {error.field for error in (*errors, *missing)}
        errors += [error for error in _combined_errors(effective) if error.field not in named]
    if missing:
        raise ClaimRequired(errors + missing)
    if errors:
        raise InvalidRequest(errors, by_policy=True)
    return effective


def _viewer_errors(login: ViewerLogin, request: TokenRequest) -> list[FieldError]:
    errors = []
    if request.viewer_id is not None:
        errors.append(FieldError("viewerId", "must be left out: a bearer token is for the viewer who presents it"))
    if request.subject is not None and request.subject != login.subject:
        errors.append(FieldError("subject", "must be left out, or be the viewer of the bearer token"))
    return errors


def _required_errors(rules: ClaimRules, request: TokenRequest) -> Iterator[FieldError]:
    if rules.allowed_origins:
        origins = request.allowed_origins
        among = f"out of {_listed(rules.allowed_origins)}, by the caller's policy"
        if not origins:
            yield FieldError("allowedOrigins", f"is required, {among}")
        else:
            for number, origin in enumerate(origins):
                if not any(covers(entry, origin) for entry in rules.allowed_origins):
                    yield FieldError(f"allowedOrigins[{number}]", f"must be {among}")
    if rules.strict_origin_enforcement and not request.strict_origin_enforcement:
        yield FieldError("strictOriginEnforcement", "must be true, by the caller's policy")
    if rules.single_use and not request.single_use:
        yield FieldError("singleUse", "must be true, by the caller's policy")
    if (highest := rules.maximum_resolution) is not None:
        requested = request.maximum_resolution
        if requested is None:
            yield FieldError("maximumResolution", f"is required, at most {highest}, by the caller's policy")
        elif MAXIMUM_RESOLUTIONS.index(requested) > MAXIMUM_RESOLUTIONS.index(highest):
            yield FieldError("maximumResolution", f"must be at most {highest}, by the caller's policy")


def _combined_errors(request: TokenRequest) -> list[FieldError]:
    """Errors by the rules on two fields, of which policy may have forced one."""
    return combined_field_errors(
        request.viewer_id,
        request.subject,
        request.single_use,
        request.ttl_seconds,
        request.strict_origin_enforcement,
        request.allowed_origins,
    )


def _listed(origins: Sequence[str]) -> str:
    more = len(origins) - _SHOWN_ORIGINS
    return ", ".join(origins[:_SHOWN_ORIGINS]) + (f" and {more} more" if more > 0 else "")
